#!/usr/bin/env bash
# Counts the instructions of hot functions (benches/instructions.rs) under callgrind and compares
# them with benches/instructions.baseline: more than MARGIN percent more fails.
#
# The same compilers, C library and valgrind give the same numbers, whatever else the machine does.
# With others the numbers differ for reasons that are not ours, so then the comparison only warns.
#
# Usage: benches/instructions.sh            compare; exit code 1 when something costs more
#        benches/instructions.sh --record   write a new baseline
set -euo pipefail
cd "$(dirname "$0")/.."
margin=3
baseline=benches/instructions.baseline
case "${1:-}" in '' | --record) ;; *) sed -n '2,/^set/{/^#/p}' "$0"; exit 2 ;; esac
for tool in valgrind callgrind_annotate; do
    command -v $tool >/dev/null || { echo "$tool is not installed (apt-get install valgrind)" >&2; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Everything that decides the numbers besides this repository.
toolchain() {
    rustc --version
    "${CC:-cc}" --version | sed -n 1p
    ldd --version 2>&1 | sed -n 1p
    valgrind --version
    # Valgrind shows programs a processor of its own, with AVX2 where the real one has it.
    echo "$(uname -m) avx2 $(grep -qw avx2 /proc/cpuinfo && echo yes || echo no)"
}

# Together with the program, so that crates are built with the same features and CI's release build
# serves both.
cargo build --quiet --release --locked --package imgferry --package instructions --bins
program=${CARGO_TARGET_DIR:-target}/release/instructions

# Hash tables are seeded at random, which moves the numbers by less than a thousandth.
valgrind --tool=callgrind --quiet --callgrind-out-file="$work/out" "$program"
callgrind_annotate --inclusive=yes --auto=no --threshold=100 "$work/out" >"$work/annotated"
sed -n 's/^ *\([0-9,]*\) .*instructions::case_\([a-z0-9_]*\).*/\2 \1/p' "$work/annotated" |
    tr -d , | sort -u -k1,1 >"$work/counts"
[ -s "$work/counts" ] || { echo "callgrind found no case; is the program stripped of its symbols?" >&2; exit 1; }
toolchain | sed 's/^/toolchain /' >"$work/toolchain"

if [ "${1:-}" = --record ]; then
    {
        echo "# Instructions of hot functions. Written by benches/instructions.sh --record; see docs/benchmarking.md."
        cat "$work/toolchain" "$work/counts"
    } >"$baseline"
    cat "$baseline"
    exit
fi

same_toolchain=true
if ! diff <(grep '^toolchain' "$baseline") "$work/toolchain" >"$work/diff"; then
    same_toolchain=false
fi
awk -v margin=$margin '
    NR == FNR { if ($1 !~ /^(#|toolchain)/) old[$1] = $2; next }
    { new[$1] = $2 }
    END {
        printf "%-18s %14s %14s %9s\n", "function", "recorded", "now", "change"
        for (name in new) if (!(name in old)) { printf "%-18s %14s %14d  not recorded\n", name, "-", new[name]; bad = 1 }
        for (name in old) {
            if (!(name in new)) { printf "%-18s %14d %14s  gone\n", name, old[name], "-"; bad = 1; continue }
            change = (new[name] / old[name] - 1) * 100
            note = change > margin ? "  MORE" : change < -margin ? "  less" : ""
            printf "%-18s %14d %14d %+8.2f%%%s\n", name, old[name], new[name], change, note
            if (change > margin) bad = 1
        }
        exit bad
    }' "$baseline" "$work/counts" && exit 0

if [ $same_toolchain = false ]; then
    echo "warning: the baseline was recorded with other tools, so nothing is concluded:" >&2
    cat "$work/diff" >&2
    exit 0
fi
echo "Hot functions execute more than $margin % more instructions than recorded, or are not" >&2
echo "recorded. If that is intended:" >&2
echo "    benches/instructions.sh --record" >&2
exit 1
