#!/usr/bin/env bash
# Benchmarks: the packet's path in memory, then pods on the real kernel beside a Linux bridge (and DPDK's testpmd, where
# Debian's package is installed). Everything happens in network namespaces of its own. Figures are medians of RUNS
# alternating runs; the machine's noise is in the minima and maxima beside them.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${WEFT_BIN_DIR:-$here/target/release}
RUNS=${RUNS:-3} SECS=${SECS:-3}
ns=weft-bench
dir=$(mktemp -d)
pid=
mac_a=02:00:0a:f4:00:05 mac_b=02:00:0a:f4:00:06 gateway=02:00:0a:f4:00:01

ctl() { "$bin/weftctl" --socket "$dir/s" "$@"; }
median() { sort -g | awk '{v[NR]=$1} END {printf "%s %s %s", v[int((NR+1)/2)], v[1], v[NR]}'; }
row() { # NAME UNIT VALUES...
  local name=$1 unit=$2; shift 2
  read -r mid low high <<<"$(printf '%s\n' "$@" | median)"
  printf '  %-44s %9.3f %-6s (%.3f–%.3f)\n' "$name" "$mid" "$unit" "$low" "$high" >&2
  echo "$mid"
}
ratio() { awk -v a="$2" -v b="$3" -v n="$1" -v want="$4" 'BEGIN {printf "  %-44s %9.2f    (wanted: %s)\n", n, a/b, want}'; }

down() {
  if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=; fi
  for n in "$ns-sw" "$ns-a" "$ns-b"; do [ -e "/run/netns/$n" ] && ip netns del "$n"; done
  return 0
}
trap 'down; rm -rf "$dir"' EXIT

namespaces() {
  down
  for n in "$ns-sw" "$ns-a" "$ns-b"; do
    ip netns add "$n"
    ip netns exec "$n" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n "$n" link set lo up
  done
}

veths() { # LAST-OCTET-A MASK: two pods on veths whose other ends are in the switch's namespace
  local end
  for end in a b; do
    local mac=mac_$end octet=5
    [ $end = b ] && octet=6
    ip link add "v$end" netns "$ns-sw" type veth peer name eth0 netns "$ns-$end" address "${!mac}"
    ip -n "$ns-sw" link set "v$end" up
    ip -n "$ns-$end" link set eth0 up
    ip -n "$ns-$end" addr add "10.244.0.$octet/$1" dev eth0
    if [ "$1" = 32 ]; then
      ip -n "$ns-$end" route add 10.244.0.1 dev eth0 scope link
      ip -n "$ns-$end" route add default via 10.244.0.1
    fi
  done
}

weft() { # KIND [IDLE]: two pods on ports of a kind
  namespaces
  [ "$1" = tap ] || veths 32
  {
    printf '[node]\nname = "bench"\ncontrol = "%s/s"\ngateway_mac = "%s"\n[pmd]\ncores = [1]\nidle = "%s"\n' "$dir" $gateway "${2:-adaptive}"
    printf '[[network]]\nname = "pods"\nprefixes = ["10.244.0.0/24"]\ngateways = ["10.244.0.1"]\n'
    printf '[[port]]\nname = "host"\nkind = "tap"\nrole = "host"\ndevice = "weft0"\n[[port]]\nname = "null"\nkind = "null"\n'
    local end octet=5
    for end in a b; do
      local mac=mac_$end
      if [ "$1" = tap ]; then
        printf '[[port]]\nname = "%s"\nkind = "tap"\ndevice = "eth0"\nnetns = "%s"\n' $end "$ns-$end"
      else
        printf '[[port]]\nname = "%s"\nkind = "%s"\ndevice = "v%s"\n' $end "$1" $end
      fi
      printf '[[endpoint]]\nname = "%s"\nnetwork = "pods"\nport = "%s"\nmac = "%s"\naddresses = ["10.244.0.%s"]\n' $end $end "${!mac}" $octet
      octet=6
    done
  } >"$dir/weft.toml"
  ip netns exec "$ns-sw" "$bin/weftd" --config "$dir/weft.toml" --log error 2>"$dir/log" &
  pid=$!
  for _ in $(seq 100); do ctl status >/dev/null 2>&1 && break; sleep 0.05; done
  ip netns exec "$ns-a" ping -q -c 2 -i 0.1 -W 1 10.244.0.6 >/dev/null || { cat "$dir/log" >&2; return 1; }
}

bridge() {
  namespaces
  veths 24
  ip -n "$ns-sw" link add name bridge0 type bridge
  ip -n "$ns-sw" link set bridge0 up
  for end in a b; do ip -n "$ns-sw" link set "v$end" master bridge0; ip netns exec "$ns-sw" ethtool -K "v$end" gro on >/dev/null; done
  ip netns exec "$ns-a" ping -q -c 2 -i 0.1 -W 1 10.244.0.6 >/dev/null
}

testpmd() { # DPDK's af_xdp ports back to back: no lookup at all
  namespaces
  veths 24
  ip netns exec "$ns-sw" dpdk-testpmd -l 0,1 --main-lcore 0 --no-pci --no-huge -m 512 --no-telemetry \
    --file-prefix weftbench --vdev net_af_xdp0,iface=va --vdev net_af_xdp1,iface=vb -- \
    --nb-cores=1 --forward-mode=io --total-num-mbufs=16384 --auto-start --stats-period 60 >"$dir/log" 2>&1 &
  pid=$!
  sleep 3
}

tcp() { # Gb/s of one stream
  ip netns exec "$ns-b" taskset -c 0 iperf3 -s -1 -p 5201 >/dev/null 2>&1 &
  local server=$! rate=
  for _ in $(seq 20); do
    rate=$(ip netns exec "$ns-a" taskset -c 0 iperf3 -c 10.244.0.6 -p 5201 -t "$SECS" -f m 2>/dev/null | awk '/receiver/ {print $7/1000}') || true
    [ -n "$rate" ] && break
    sleep 0.1
  done
  kill $server 2>/dev/null || true; wait $server 2>/dev/null || true
  echo "${rate:-0}"
}

sink() { # counts the generator's frames as they enter pod b, and drops them there
  ip netns exec "$ns-b" nft -f - <<'NFT'
table netdev bench {
  counter arrived { }
  chain in {
    type filter hook ingress device "eth0" priority 0; policy accept;
    udp dport 9 counter name arrived drop
  }
}
NFT
}
arrived() { ip netns exec "$ns-b" nft list counter netdev bench arrived | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }

udp() { # Mpps of 64-byte frames that arrive in pod b, offered more than any switch takes
  local to=$1 began
  sink
  began=$EPOCHREALTIME # a call into the kernel's generator takes its time: count by the clock
  ip netns exec "$ns-a" taskset -c 0 "$bin/weft-perf" blast --device eth0 --src-mac $mac_a --dst-mac "$to" --src 10.244.0.5 \
    --dst 10.244.0.6 --size 64 --seconds "$SECS" >"$dir/blast"
  awk -v n="$(arrived)" -v s="$began" -v e="$EPOCHREALTIME" 'BEGIN {print n/(e-s)/1e6}'
}

echo "weft's path in memory: gen → null, one core, 64-byte frames (TSC cycles, generator and sink included)"
for case in "xconnect 1" "l2 1" "l3 1" "l3 10000" "l3 100000" "l3 1000000"; do
  set -- $case
  "$bin/weft-perf" core --case "$1" --flows "$2" --seconds 1 --cpu 1 | sed 's/^/  /'
done
"$bin/weft-perf" core --case l3 --flows 1 --ipv6 --seconds 1 --cpu 1 | sed 's/^/  IPv6 /'

echo "TCP, one stream, pod to pod, endpoints on core 0, PMD thread on core 1"
declare -A tcp_runs udp_runs
for run in $(seq "$RUNS"); do
  for what in bridge tap packet xsk; do
    if [ $what = bridge ]; then bridge; else weft $what; fi
    tcp_runs[$what]+="$(tcp) "
  done
done
base=$(row "Linux bridge, veth" Gb/s ${tcp_runs[bridge]})
for what in tap packet xsk; do
  mid=$(row "weft $what ↔ $what" Gb/s ${tcp_runs[$what]})
  if [ $what != xsk ]; then ratio "  ÷ Linux bridge" "$mid" "$base" "≥ 0.95"; else ratio "  ÷ Linux bridge" "$mid" "$base" "no GSO over AF_XDP"; fi
done

echo "UDP, 64-byte frames, pod to pod, offered more than they take"
peers=(bridge xsk)
command -v dpdk-testpmd >/dev/null && peers+=(testpmd)
for run in $(seq "$RUNS"); do
  for what in "${peers[@]}"; do
    case $what in
    bridge) bridge; udp_runs[$what]+="$(udp $mac_b) " ;;
    testpmd) testpmd; udp_runs[$what]+="$(udp $mac_b) " ;;
    xsk) weft xsk spin; udp_runs[$what]+="$(udp $gateway) " ;;
    esac
  done
done
base=$(row "Linux bridge, veth" Mpps ${udp_runs[bridge]})
mid=$(row "weft xsk ↔ xsk" Mpps ${udp_runs[xsk]})
ratio "  ÷ Linux bridge" "$mid" "$base" "≥ 1.6"
if [ -n "${udp_runs[testpmd]:-}" ]; then
  peer=$(row "DPDK testpmd af_xdp" Mpps ${udp_runs[testpmd]})
  ratio "  ÷ testpmd" "$mid" "$peer" "≥ 1"
else
  echo "  DPDK testpmd: skipped (apt-get install dpdk)"
fi
echo "  offered: $(cat "$dir/blast")"

echo "Idle: 4 ports, idle = \"adaptive\""
weft tap
sleep 1
cpu() { awk '{print $14 + $15}' "/proc/$pid/stat"; }
before=$(cpu); sleep 5; after=$(cpu)
awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "  weftd took %.2f %% of a core (wanted: < 2)\n", 100 * t / hz / 5}'
rtt() { ip netns exec "$ns-a" ping -n -c "$1" -i "$2" 10.244.0.6 | sed -n 's/.*time=\([0-9.]*\).*/\1/p' | awk '{print $1 * 1000}'; }
row "round trip of a ping after 0.3 s of silence" µs $(rtt 15 0.3) >/dev/null
row "the same, one every 10 ms" µs $(rtt 50 0.01) >/dev/null
echo "  (wanted: the first packet after idle answered within 200 µs at the median)"
