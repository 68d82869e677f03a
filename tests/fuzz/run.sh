#!/usr/bin/env bash
# Fuzzes each target for so many seconds: tests/fuzz/run.sh SECONDS [TARGET ...]
#
# The stable compiler can instrument for libFuzzer by itself; cargo-fuzz and a nightly compiler are not needed.
# A crash is left in artifacts/; run the target with that file as its argument to see it again.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-15}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(parse pipeline config codec)

flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, build scripts and macros are not instrumented.
RUSTFLAGS="$flags" cargo build --release --locked --quiet --target "$host"

passed=0
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" artifacts
  seeds=()
  [ "$target" = config ] && seeds=(../../configs)
  printf 'fuzz %s for %s s: ' "$target" "$seconds"
  if out=$("target/$host/release/$target" -max_total_time="$seconds" -max_len=2048 -rss_limit_mb=4096 \
    -artifact_prefix=artifacts/ "corpus/$target" "${seeds[@]}" 2>&1); then
    echo "$(grep -c . <<<"$out") lines of progress, $(grep -oE '^#[0-9]+' <<<"$out" | tail -1) runs, no crash"
    passed=$((passed + 1))
  else
    echo CRASHED
    tail -40 <<<"$out"
    exit 1
  fi
done
echo "$passed passed, 0 failed"
