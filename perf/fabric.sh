#!/usr/bin/env bash
# TCP from a pod of one node to a pod of another, one stream: weft with and without GRO, native and VXLAN, beside the
# kernel's own routing, and vxlan with a bridge. In turn, medians of RUNS. Two nodes, one veth as underlay, in network
# namespaces of their own; all four programs (two switches, two ends) share the cores there are.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${WEFT_BIN_DIR:-$here/target/release}
RUNS=${RUNS:-3} SECS=${SECS:-3}
dir=$(mktemp -d)
pids=()

down() {
  local pid n
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  pids=()
  for n in fab-a fab-b fab-a-pod fab-b-pod; do [ ! -e "/run/netns/$n" ] || ip netns del $n; done
}
trap 'down; rm -rf "$dir"' EXIT

nodes() { # two nodes, connected, each with an empty namespace for a pod
  down
  local n
  for n in fab-a fab-b fab-a-pod fab-b-pod; do
    ip netns add $n
    ip netns exec $n sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_forward=1
    ip -n $n link set lo up
  done
  ip link add uplink0 netns fab-a type veth peer name uplink0 netns fab-b
  ip -n fab-a addr add 192.0.2.1/24 dev uplink0; ip -n fab-a link set uplink0 up
  ip -n fab-b addr add 192.0.2.2/24 dev uplink0; ip -n fab-b link set uplink0 up
}

veth() { # NODE MTU: a pod's veth, vp at the node
  ip link add vp netns "fab-$1" type veth peer name eth0 netns "fab-$1-pod"
  ip -n "fab-$1" link set vp up mtu "$2"
  ip -n "fab-$1-pod" link set eth0 up mtu "$2"
}

kernel_native() { # the nodes' stacks route
  nodes
  local n i=1 other=2
  for n in a b; do
    veth $n 1500
    ip -n fab-$n addr add 10.244.$i.1/24 dev vp
    ip -n fab-$n-pod addr add 10.244.$i.5/24 dev eth0
    ip -n fab-$n-pod route add default via 10.244.$i.1
    ip -n fab-$n route add 10.244.$other.0/24 via 192.0.2.$other
    i=2 other=1
  done
}

kernel_vxlan() { # a vxlan device and the pod's veth on a bridge
  nodes
  local n i=1 other=2
  for n in a b; do
    veth $n 1450
    ip -n fab-$n link add br0 type bridge
    ip -n fab-$n link add vx0 type vxlan id 42 local 192.0.2.$i remote 192.0.2.$other dstport 4789
    for device in br0 vx0; do ip -n fab-$n link set $device up; done
    ip -n fab-$n link set vx0 master br0; ip -n fab-$n link set vp master br0
    # One L2 network: the pods keep the addresses they have elsewhere.
    ip -n fab-$n-pod addr add 10.244.$i.5/16 dev eth0
    i=2 other=1
  done
}

weft() { # MODE NO_GRO [UPLINK-KIND]
  nodes
  local n i=1 other=2
  for n in a b; do
    cat >"$dir/$n.toml" <<TOML
[node]
name = "$n"
addresses = ["192.0.2.$i"]
control = "$dir/$n.sock"
[pmd]
cores = [$((i % 2))]
memory_mib = 64
[[network]]
name = "pods"
vni = 42
prefixes = ["10.244.$i.0/24"]
gateways = ["10.244.$i.1"]
[[port]]
name = "uplink"
kind = "${3:-xsk}"
role = "fabric"
device = "uplink0"
[[port]]
name = "pod"
kind = "tap"
device = "eth0"
netns = "fab-$n-pod"
no_gro = $2
[[endpoint]]
name = "pod"
network = "pods"
port = "pod"
mac = "02:00:0a:f4:0$i:05"
addresses = ["10.244.$i.5"]
[fabric]
mode = "$1"
[[fabric.peer]]
name = "$([ $n = a ] && echo b || echo a)"
address = "192.0.2.$other"
prefixes = ["10.244.$other.0/24"]
TOML
    ip netns exec fab-$n "$bin/weftd" --config "$dir/$n.toml" --log error 2>"$dir/$n.log" &
    pids+=($!)
    i=2 other=1
  done
}

tcp() { # Gb/s
  local rate="" server _
  for _ in $(seq 100); do ip netns exec fab-a-pod ping -c 1 -W 1 -q 10.244.2.5 >/dev/null 2>&1 && break; sleep 0.05; done
  ip netns exec fab-b-pod iperf3 -s -1 -p 5201 >/dev/null 2>&1 &
  server=$!
  for _ in $(seq 20); do
    rate=$(ip netns exec fab-a-pod iperf3 -c 10.244.2.5 -p 5201 -t "$SECS" -f m 2>/dev/null | awk '/receiver/ {print $7/1000}') || true
    [ -n "$rate" ] && break
    sleep 0.1
  done
  kill $server 2>/dev/null || true; wait $server 2>/dev/null || true
  echo "${rate:-0}"
}

cases=("kernel_native" "weft native false" "weft native true" "weft native false packet" "kernel_vxlan" "weft vxlan false" "weft vxlan true")
declare -A rates
for run in $(seq "$RUNS"); do
  for case in "${cases[@]}"; do
    $case
    rate=$(tcp)
    echo "run $run of $RUNS: $case: $rate Gb/s" >&2
    rates[$case]+="$rate "
  done
done
declare -A names=(["kernel_native"]="Linux, routed" ["weft native false"]="weft native" ["weft native true"]="weft native, no GRO"
  ["weft native false packet"]="weft native, packet"   ["kernel_vxlan"]="Linux vxlan + bridge" ["weft vxlan false"]="weft VXLAN" ["weft vxlan true"]="weft VXLAN, no GRO")
printf '%-22s %8s  %s\n' "" "Gb/s" "(least–most)"
for case in "${cases[@]}"; do
  printf '%s\n' ${rates[$case]} | sort -g | awk -v n="${names[$case]}" \
    '{v[NR]=$1} END {printf "%-22s %8.2f  (%.2f–%.2f)\n", n, v[int((NR+1)/2)], v[1], v[NR]}'
done
