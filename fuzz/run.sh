#!/bin/sh
# run.sh SECONDS [TARGET…]: fuzzes each target (all of them without a name) for so long, from the inputs
# that it found before. What makes a target fail is left in fuzz/artifacts/TARGET/. Any Rust will do: these
# are the instruments that cargo-fuzz would ask for, without a sanitizer.
set -eu
cd "$(dirname "$0")"
seconds=$1
shift
# shellcheck disable=SC2046 # a list of words
[ $# -gt 0 ] || set -- $(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"/\1/p' Cargo.toml)
sh ./seeds.sh

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks"
cargo build --quiet --locked --release --target "$host"

for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    log=artifacts/$target.log
    if "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -max_len=98304 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" >"$log" 2>&1; then
        echo "fuzz $target: $(sed -n 's/^Done \(.*\) in .*/\1/p' "$log")"
    else
        tail -n 60 "$log"
        echo "fuzz $target: failed; the input is in fuzz/artifacts/$target/"
        exit 1
    fi
done
