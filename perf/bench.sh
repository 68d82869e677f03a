#!/usr/bin/env bash
# `make bench`: the packet's path in memory, pods beside a Linux bridge, and weftd at rest. Some four minutes.
# Everything happens in network namespaces of its own. `make bench-peers` has more peers and more tests.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
perf=${WEFT_BIN_DIR:-$here/target/release}/weft-perf
RUNS=${RUNS:-3} SECS=${SECS:-3} OUT=${OUT:-$here/target/bench}

echo "weft's path in memory: gen → null, one core, 64-byte frames (TSC cycles, generator and sink included)"
for case in "xconnect 1" "l2 1" "l3 1" "l3 10000" "l3 100000" "l3 1000000" "rules 10000" "miss 1000000"; do
  read -r what flows <<<"$case"
  "$perf" core --case "$what" --flows "$flows" --seconds 1 --cpu 1 | sed 's/^/  /'
done
"$perf" core --case l3 --flows 1 --ipv6 --seconds 1 --cpu 1 | sed 's/^/  IPv6 /'

"$perf" pods --systems bridge,weft-tap,weft-packet,weft-xsk --tests udp64,tcp1 --runs "$RUNS" --seconds "$SECS" --out "$OUT"
echo "  wanted of the Linux bridge: weft-tap and weft-packet tcp1 ≥ 0.95, weft-xsk udp64 ≥ 1.6 (no GSO over AF_XDP)"

"$perf" idle
echo "  wanted: less than 2 % of a core; the first ping after silence within 200 µs"
