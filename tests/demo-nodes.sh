#!/usr/bin/env bash
# The demo of a cluster: three nodes on one underlay, two pods each, VXLAN between them, all in network namespaces of
# their own; then one node's weftd is killed and started again.
#
#   demo-nodes.sh up|show|down|run     `run` is up, show, down; with KEEP=1 it leaves out down.
#
# Nothing outside of the namespaces below is touched.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
bin=${WEFT_BIN_DIR:-$here/target/release}
underlay=weft-demo-under
nodes=(a b c)
declare -A number=([a]=1 [b]=2 [c]=3)
declare -A v4 v6 ns
names=()
for n in "${nodes[@]}"; do
  i=${number[$n]}
  ns[$n]=weft-demo-$n v4[$n]=192.0.2.$i v6[$n]=2001:db8::$i
  for pod in web db; do
    octet=5
    [ $pod = db ] && octet=6
    ns[$n-$pod]=weft-demo-$n-$pod v4[$n-$pod]=10.244.$i.$octet v6[$n-$pod]=fd00:244:$i::$octet
  done
  names+=("$n" "$n-web" "$n-db")
done

. "$here/tests/demo-lib.sh"
dir() { echo "/run/weft-demo-$1"; }
ctl() { local node=$1; shift; "$bin/weftctl" --socket "$(dir "$node")/control.sock" "$@"; }

config() { # NODE: configs/vxlan.toml is node a's; the others are made from it
  awk -v me="$1" -v i="${number[$1]}" '
    /^\[\[fabric.peer\]\]/ { exit }
    { gsub(/192\.0\.2\.1"/, "192.0.2." i "\""); gsub(/2001:db8::1"/, "2001:db8::" i "\"")
      gsub(/10\.244\.1\./, "10.244." i "."); gsub(/fd00:244:1::/, "fd00:244:" i "::"); gsub(/f4:01:/, "f4:0" i ":")
      gsub(/weft-demo-a/, "weft-demo-" me); sub(/^name = "a"/, "name = \"" me "\"")
      sub(/^cores = \[0\]/, "cores = [" i % 2 "]"); print }' "$here/configs/vxlan.toml"
  local other
  for other in "${nodes[@]}"; do
    [ "$other" = "$1" ] && continue
    printf '[[fabric.peer]]\nname = "%s"\naddress = "%s"\naddresses = ["%s"]\nprefixes = ["10.244.%d.0/24", "fd00:244:%d::/64"]\n' \
      "$other" "${v4[$other]}" "${v6[$other]}" "${number[$other]}" "${number[$other]}"
  done
}

start() { # NODE
  local d
  d=$(dir "$1")
  ip netns exec "${ns[$1]}" "$bin/weftd" --config "$d/weft.toml" >>"$d/weftd.log" 2>&1 &
  echo $! >"$d/weftd.pid"
  for _ in $(seq 200); do
    [ "$(ctl "$1" --json fabric show 2>/dev/null | grep -c '"reachable": *2\|"reachable":2')" = 1 ] && return
    kill -0 "$(cat "$d/weftd.pid")" 2>/dev/null || { cat "$d/weftd.log" >&2; return 1; }
    sleep 0.05
  done
  cat "$d/weftd.log" >&2
  return 1
}

up() {
  down
  say "namespaces: three nodes on an underlay, two pods each"
  netns $underlay
  ip -n $underlay link add br0 type bridge
  ip -n $underlay link set br0 up
  local n i d mac gateway
  for n in "${nodes[@]}"; do
    i=${number[$n]} d=$(dir "$n")
    for name in "$n" "$n-web" "$n-db"; do netns "${ns[$name]}"; done
    ip link add uplink0 netns "${ns[$n]}" type veth peer name "to-$n" netns $underlay
    ip -n $underlay link set "to-$n" master br0 up
    ip -n "${ns[$n]}" link set uplink0 up
    ip -n "${ns[$n]}" addr add "${v4[$n]}/24" dev uplink0
    ip -n "${ns[$n]}" addr add "${v6[$n]}/64" dev uplink0 nodad
    # A pod on a veth, configured as a CNI plug-in would. The other gets its tap from weftd.
    ip link add vdb netns "${ns[$n]}" type veth peer name eth0 netns "${ns[$n-db]}" address "02:00:0a:f4:0$i:06" mtu 1450
    ip -n "${ns[$n]}" link set vdb up mtu 1450
    ip -n "${ns[$n-db]}" link set eth0 up
    ip -n "${ns[$n-db]}" addr add "${v4[$n-db]}/32" dev eth0
    ip -n "${ns[$n-db]}" addr add "${v6[$n-db]}/128" dev eth0 nodad
    for gateway in "10.244.$i.1" "fd00:244:$i::1"; do
      ip -n "${ns[$n-db]}" route add "$gateway" dev eth0
      ip -n "${ns[$n-db]}" route add default via "$gateway"
    done
    mkdir -p "$d"
    config "$n" >"$d/weft.toml"
  done
  say "weftd on each node, vxlan between them"
  for n in "${nodes[@]}"; do start "$n" & done
  wait
  for n in "${nodes[@]}"; do ctl "$n" status >/dev/null; done
}

show() {
  local failed=0
  say "ping, every pod and node with every other, IPv4 and IPv6 (median of 5, ms)"
  matrix 4 || failed=1
  matrix 6 || failed=1
  say "TCP across, one stream, 2 s each (iperf3)"
  tcp a-web b-web "${v4[b-web]}" || failed=1
  tcp b-db c-web "${v6[c-web]}" || failed=1
  tcp c c-db "${v4[c-db]}" || failed=1
  tcp a c-web "${v4[c-web]}" || failed=1
  for what in "fabric show" "fabric peer list" "fabric peer show b" "port list" "flow cache --limit 6" "drops"; do
    say "on node a: weftctl $what"
    # shellcheck disable=SC2086
    ctl a $what || failed=1
  done

  say "node b's weftd is killed, and started again; meanwhile node a talks to node c"
  local pinging out
  ip netns exec "${ns[a-web]}" ping -n -q -i 0.02 -c 150 "${v4[c-web]}" >/tmp/weft-demo-ping.$$ &
  pinging=$!
  kill -9 "$(cat "$(dir b)/weftd.pid")"
  sleep 0.5
  ip netns exec "${ns[a]}" ping -n -q -c 3 -i 0.1 "${v4[b]}" | grep -E 'received' | sed 's/^/  node a → node b, without weftd: /' || failed=1
  start b
  ip netns exec "${ns[a-db]}" ping -n -q -c 3 -i 0.1 "${v4[b-db]}" | grep -E ' 3 received' | sed 's/^/  a-db → b-db, weftd is back: /' || failed=1
  wait $pinging || true
  out=$(grep received /tmp/weft-demo-ping.$$); rm -f /tmp/weft-demo-ping.$$
  echo "  a-web → c-web, all the while: $out"
  grep -q ' 0% packet loss' <<<"$out" || failed=1
  return $failed
}

down() {
  local n d pid name
  for n in "${nodes[@]}"; do
    d=$(dir "$n")
    if [ -f "$d/weftd.pid" ]; then
      pid=$(cat "$d/weftd.pid")
      if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = weftd ]; then
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
      fi
    fi
    rm -rf "$d"
  done
  for name in $underlay "${ns[@]}"; do
    [ ! -e "/run/netns/$name" ] || ip netns del "$name"
  done
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
    echo "  sudo $bin/weftctl --socket $(dir a)/control.sock fabric peer list"
    echo "  sudo ip netns exec ${ns[a-web]} ping ${v4[c-db]}"
    echo "  make demo-down NODES=3"
  else
    say "all good"
  fi
  ;;
*) echo "usage: $0 up|show|down|run" >&2; exit 2 ;;
esac
