#!/usr/bin/env bash
# `make bench`: the packet's path in memory, pods beside a Linux bridge and Linux routing, and weftd at rest. Six minutes.
# `perf/bench.sh peers` (`make bench-peers`): the same with Open vSwitch and DPDK, every test, results into perf/results.
# Everything happens in network namespaces of its own; what is absent is skipped, and the report says so.
#
#   RUNS=10 SECS=1   runs of each figure, and how long each is
#   EXPECT=1         exit with 1 unless weft reaches what is wanted beside the bridge (off: machines differ)
#   OUT=target/bench where results and the report go
set -euo pipefail

cd "$(dirname "$0")/.." # results hold the command line: paths are short in it, and no machine's own
perf=${WEFT_BIN_DIR:-target/release}/weft-perf
RUNS=${RUNS:-10} SECS=${SECS:-1} EXPECT=${EXPECT:-} OUT=${OUT:-target/bench}
status=0
mkdir -p "$OUT"

wanted=() # no GSO over AF_XDP: xsk is for small packets, tap and packet are for streams
if [ -n "$EXPECT" ]; then
  wanted=(--expect 'weft-tap/tcp1/rate>=0.95*bridge' --expect 'weft-packet/tcp1/rate>=0.95*bridge'
    --expect 'weft-xsk/udp64/rate>=1.6*bridge')
fi

run() { # an outcome that is not what was expected doesn't keep the report from being written; anything else does
  local code=0
  "$perf" "$@" || code=$?
  case $code in
    0) ;;
    1) status=1 ;;
    3) [ "$1" = search ] || exit 3 ;; # what it refuses (the generator is no faster, here) is a gap that the report tells
    *) exit "$code" ;;
  esac
}

core() { run core --runs "$RUNS" --seconds 0.5 --json "$OUT/$1.json" "${@:2}" >/dev/null; }

echo "weft's path in memory: gen → null, one core, 64-byte frames"
core core --case l3 --flows 1,1000,10000,100000,1000000
core core-l2 --case xconnect,l2,vxlan-encap,vxlan-decap --flows 1
core core-rules --case rules --flows 10000
core core-miss --case miss --flows 1000000
core core-v6 --case l3 --flows 1 --ipv6
files=("$OUT"/core.json "$OUT"/core-l2.json "$OUT"/core-rules.json "$OUT"/core-miss.json "$OUT"/core-v6.json)

if [ "${1:-}" = peers ]; then
  results=perf/results
  run pods --runs "$RUNS" --seconds "$SECS" --out "$results" "${wanted[@]}" >/dev/null
  run peers --out "$results" >/dev/null
  files+=("$results/pods.json" "$results/peers.json")
  run search --systems weft-xsk,weft-packet,weft-tap,bridge-rps,ovs-afxdp,testpmd --latency --curve \
    --runs "$RUNS" --trial 0.5 --json "$results/search.json" >/dev/null
  run disrupt --runs "$RUNS" --json "$results/disrupt.json" >/dev/null
  files+=("$results/search.json" "$results/disrupt.json")
else
  systems=bridge,routing,weft-tap,weft-packet,weft-xsk
  run pods --systems $systems --tests udp64,tcp1 --runs "$RUNS" --seconds "$SECS" --out "$OUT" "${wanted[@]}" >/dev/null
  files+=("$OUT/pods.json")
fi
run idle --json "$OUT/idle.json" >/dev/null
files+=("$OUT/idle.json")

"$perf" report "${files[@]}" --output "$OUT/report.html"
exit $status
