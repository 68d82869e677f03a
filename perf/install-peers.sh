#!/usr/bin/env bash
# Installs the peers' Debian packages, as root, and leaves no service of theirs running, now or after a restart: the
# benchmarks run what they need themselves.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: perf/install-peers.sh PACKAGE..." >&2; exit 2; }
echo "installing: $*"
policy=/usr/sbin/policy-rc.d # invoke-rc.d(8) asks it whether a package may start its services
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy # "action not allowed"
  chmod 755 $policy
fi
had_switch=$(dpkg-query -W -f='${Status}' openvswitch-switch 2>/dev/null | grep -c 'ok installed' || true)
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
if [ "$had_switch" = 0 ] && [ -e /etc/init.d/openvswitch-switch ]; then
  update-rc.d openvswitch-switch disable
fi
