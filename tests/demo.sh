#!/usr/bin/env bash
# The demo: a node, three pods and another node, all in network namespaces of their own; weftd in between.
#
#   demo.sh up|show|down|run     `run` is up, show, down; with KEEP=1 it leaves out down.
#
# Nothing outside of the namespaces below is touched.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${WEFT_BIN_DIR:-$here/target/release}
run=/run/weft-demo
node=weft-demo-node outside=weft-demo-out
declare -A pod=([tap]=weft-demo-a [packet]=weft-demo-b [xsk]=weft-demo-c)
declare -A v4=([tap]=10.244.0.5 [packet]=10.244.0.6 [xsk]=10.244.0.7 [node]=192.0.2.1 [outside]=10.244.1.9)
declare -A v6=([tap]=fd00:244::5 [packet]=fd00:244::6 [xsk]=fd00:244::7 [node]=2001:db8::1 [outside]=fd00:244:1::9)
declare -A ns=([tap]=weft-demo-a [packet]=weft-demo-b [xsk]=weft-demo-c [node]=$node [outside]=$outside)
names=(tap packet xsk node outside)

. "$here/tests/demo-lib.sh"
ctl() { "$bin/weftctl" --socket "$run/control.sock" "$@"; }

veth_pod() { # NAMESPACE SWITCH-END MAC V4 V6: a pod on a veth, configured as a CNI plug-in would
  ip link add "$2" netns "$node" type veth peer name eth0 netns "$1" address "$3"
  ip -n "$node" link set "$2" up
  ip -n "$1" link set lo up
  ip -n "$1" link set eth0 up
  ip -n "$1" addr add "$4/32" dev eth0
  ip -n "$1" route add 10.244.0.1 dev eth0 scope link
  ip -n "$1" route add default via 10.244.0.1
  ip -n "$1" addr add "$5/128" dev eth0 nodad
  ip -n "$1" -6 route add fd00:244::1 dev eth0
  ip -n "$1" -6 route add default via fd00:244::1
}

up() {
  down
  say "namespaces: a node, three pods, another node behind it"
  for name in "$node" "$outside" "${pod[@]}"; do
    netns "$name"
  done
  ip link add uplink0 netns "$node" type veth peer name eth0 netns "$outside"
  ip -n "$node" addr add 192.0.2.1/24 dev uplink0
  ip -n "$node" addr add 2001:db8::1/64 dev uplink0 nodad
  ip -n "$node" link set uplink0 up
  ip -n "$outside" addr add 192.0.2.2/24 dev eth0
  ip -n "$outside" addr add 2001:db8::2/64 dev eth0 nodad
  ip -n "$outside" link set eth0 up
  ip -n "$outside" addr add 10.244.1.9/32 dev lo
  ip -n "$outside" addr add fd00:244:1::9/128 dev lo nodad
  ip -n "$outside" route add 10.244.0.0/24 via 192.0.2.1 src 10.244.1.9
  ip -n "$outside" -6 route add fd00:244::/64 via 2001:db8::1 src fd00:244:1::9
  veth_pod "${pod[packet]}" vb 02:00:0a:f4:00:06 10.244.0.6 fd00:244::6
  veth_pod "${pod[xsk]}" vc 02:00:0a:f4:00:07 10.244.0.7 fd00:244::7

  say "weftd --config configs/demo.toml"
  mkdir -p "$run"
  ip netns exec "$node" "$bin/weftd" --config "$here/configs/demo.toml" >"$run/weftd.log" 2>&1 &
  echo $! >"$run/weftd.pid"
  for _ in $(seq 100); do
    ctl status >/dev/null 2>&1 && break
    kill -0 "$(cat "$run/weftd.pid")" 2>/dev/null || { cat "$run/weftd.log" >&2; return 1; }
    sleep 0.1
  done
  cat "$run/weftd.log"
}

show() {
  say "ping, every pair, IPv4 and IPv6 (median of 5, ms)"
  local failed=0 pair
  # The node answers on its own link to the other node, too; both ways are the node's.
  matrix 4 || failed=1
  matrix 6 || failed=1

  say "TCP, one stream, 2 s each (iperf3)"
  for pair in "tap packet" "packet tap" "tap xsk" "xsk packet" "node tap" "tap outside" "outside packet"; do
    set -- $pair
    tcp "$1" "$2" "${v4[$2]}" || failed=1
  done

  say "a rule at work: telnet (tcp/23) between pods is dropped"
  ip netns exec "${pod[tap]}" timeout 1 bash -c 'echo > /dev/tcp/10.244.0.6/23' 2>/dev/null && failed=1
  # Nobody listens there either: only the rule's own hits tell that it was the rule.
  local hits
  hits=$(ctl --json flow list | tr -d ' \n' | sed -n 's/.*"packets":\([0-9]*\).*/\1/p')
  if [ "${hits:-0}" -gt 0 ]; then echo "  $hits packets dropped by the rule"; else echo "  FAILED: the rule saw none"; failed=1; fi
  for what in "status" "port list" "endpoint list" "flow list" "flow cache --limit 8" "pmd list" "stats" "drops"; do
    say "weftctl $what"
    # shellcheck disable=SC2086
    ctl $what || failed=1
  done
  return $failed
}

down() {
  if [ -f "$run/weftd.pid" ]; then
    local pid
    pid=$(cat "$run/weftd.pid")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = weftd ]; then
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    fi
  fi
  for name in "$node" "$outside" "${pod[@]}"; do
    [ -e "/run/netns/$name" ] && ip netns del "$name"
  done
  rm -rf "$run"
}

case "${1:-run}" in
up) up ;;
show) show ;;
down) down ;;
run)
  trap '[ -n "${KEEP:-}" ] || down' EXIT
  up
  show
  if [ -n "${KEEP:-}" ]; then
    say "left up; try"
    echo "  sudo $bin/weftctl --socket $run/control.sock port list        (or stats --watch, flow cache, drops)"
    echo "  sudo ip netns exec ${pod[tap]} ping 10.244.0.7"
    echo "  make demo-down"
  else
    say "all good"
  fi
  ;;
*) echo "usage: $0 up|show|down|run" >&2; exit 2 ;;
esac
