# What the demos share. The caller has set: names, and by name: ns (its namespace), v4, v6 (its addresses).

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

netns() { # NAME: no duplicate address detection, no router solicitations: ready at once
  ip netns add "$1"
  ip netns exec "$1" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0
  ip -n "$1" link set lo up
}

matrix() { # 4|6: median round trips between all, ms
  local failed=0 from to address out
  printf '%-10s' "IPv$1"; printf '%9s' "${names[@]}"; echo
  for from in "${names[@]}"; do
    printf '%-10s' "  $from"
    for to in "${names[@]}"; do
      if [ "$from" = "$to" ]; then printf '%9s' -; continue; fi
      if [ "$1" = 4 ]; then address=${v4[$to]}; else address=${v6[$to]}; fi
      if out=$(ip netns exec "${ns[$from]}" ping -"$1" -n -c 5 -i 0.02 -W 2 "$address" 2>&1); then
        printf '%9s' "$(sed -n 's/.*time=\([0-9.]*\).*/\1/p' <<<"$out" | sort -n | sed -n 3p)"
      else
        printf '%9s' FAILED; failed=1
      fi
    done
    echo
  done
  return $failed
}

tcp() { # FROM TO ADDRESS: one stream, 2 s
  ip netns exec "${ns[$2]}" iperf3 -s -1 -p 5201 >/dev/null 2>&1 &
  local server=$! rate=""
  for _ in $(seq 20); do
    if rate=$(ip netns exec "${ns[$1]}" iperf3 -c "$3" -p 5201 -t 2 -f g 2>/dev/null | awk '/receiver/ {print $7, $8}') && [ -n "$rate" ]; then break; fi
    sleep 0.1
  done
  kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true
  printf '  %-8s → %-8s %s\n' "$1" "$2" "${rate:-FAILED}"
  [ -n "$rate" ]
}
