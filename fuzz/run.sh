#!/bin/sh
# Fuzzes one target, or all one after the other: fuzz/run.sh TARGET|all SECONDS
#
# Stable Rust suffices: coverage comes from LLVM's pass, which stable passes through, and the engine (libFuzzer) is
# compiled by libfuzzer-sys. No address sanitizer: the code under test has no unsafe blocks. What is found lies in
# fuzz/artifacts/TARGET, and the exit code is not 0. The corpus is kept below fuzz/target, for the next run.
set -eu

targets="package tree names event session frames expressions policy"
target=${1:?"usage: fuzz/run.sh TARGET|all SECONDS (targets: $targets)"}
seconds=${2:?"usage: fuzz/run.sh TARGET|all SECONDS"}
folder=$(cd "$(dirname "$0")" && pwd)
build=${CARGO_TARGET_DIR:-$folder/target}
corpus=$build/corpus
host=$(rustc -vV | sed -n 's/^host: //p')

case " $targets all " in
*" $target "*) ;;
*) echo "no target $target; there are: $targets" >&2; exit 2 ;;
esac
command -v c++ >/dev/null || { echo "a C++ compiler is needed (Debian: apt install g++)" >&2; exit 2; }
[ "$target" = all ] || targets=$target

# With --target, the flags do not reach build scripts and procedural macros.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    CARGO_TARGET_DIR=$build cargo build --quiet --release --manifest-path "$folder/Cargo.toml" --target "$host" --bins
python3 "$folder/seeds.py" "$corpus"

failed=
for target in $targets; do
    artifacts=$folder/artifacts/$target
    mkdir -p "$artifacts"
    log=$corpus/$target.log
    if "$build/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -print_final_stats=1 -artifact_prefix="$artifacts/" "$corpus/$target" >"$log" 2>&1; then
        rmdir "$artifacts"
        sed -n 's/^stat::number_of_executed_units: *//p;s/^stat::average_exec_per_sec: */ /p' "$log" |
            { read -r runs; read -r speed; echo "$target: $runs runs, $speed per second, nothing found"; }
    else
        tail -n 40 "$log" >&2
        echo "$target: FAILED; the input is in $artifacts" >&2
        failed="$failed $target"
    fi
done
rmdir "$folder/artifacts" 2>/dev/null || true
[ -z "$failed" ]
