#!/usr/bin/env bash
# The bars that imgferry's speed is held to, each against its peer in the same run: medians of interleaved
# rounds, sources in the page cache, targets removed before each run.
#
# usage: benches/bars.sh [BAR…]           a b c d e f g h; default: all
#   ROUNDS=5          rounds of which the median is taken
#   DIR=…             where disks and outputs go, 12 GiB (default: a new directory in TMPDIR, removed at the end)
#   IMGFERRY=…        binary to measure (default: target/release/imgferry)
#   RUN=…             command that each measured command is run by, such as `nice -n -5` (default: none)
#
# Needs qemu-img (c, d), GNU time (g), python3, and both binaries:
#   cargo build --release && cargo build --release -p convert --example baseline
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
bin=${IMGFERRY:-$here/target/release/imgferry}
base=${BASELINE:-$here/target/release/examples/baseline}
rounds=${ROUNDS:-5}
bars=${*:-a b c d e f g h}
if [ -n "${DIR:-}" ]; then
    dir=$DIR
    mkdir -p "$dir"
    trap 'rm -rf "$dir/times" "$dir"/out.* "$dir/cloud"' EXIT
else
    dir=$(mktemp -d "${TMPDIR:-/tmp}/bars.XXXXXX")
    trap 'rm -rf "$dir"' EXIT
fi
rm -rf "$dir/times"
mkdir -p "$dir/times"
disk=$dir/os4g.raw
[ -e "$disk" ] || "$here/benches/make-os-disk.sh" "$disk"

has() { [[ " $bars " == *" $1 "* ]]; }

# clock NAME COMMAND…: notes the seconds that it takes.
clock() {
    local name=$1 start end
    shift
    start=$(date +%s.%N)
    ${RUN:-} "$@" >"$dir/times/log" 2>&1 || {
        cat "$dir/times/log" >&2
        echo "$name failed: $*" >&2
        exit 1
    }
    end=$(date +%s.%N)
    echo "$start $end" | awk '{ print $2 - $1 }' >>"$dir/times/$name"
}
median() { sort -n "$dir/times/$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# fresh SOURCE…: no target is there, and the sources are in the page cache. Before every command, because some machines
# give memory back that was not used for a few seconds.
fresh() {
    rm -f "$dir"/out.*
    [ $# = 0 ] || cat "$@" >/dev/null
}
# row BAR WHAT PEER OURS WANTED [max]: ratio of two medians against the bar; with "max" ours ÷ peer must not exceed it.
row() {
    awk -v bar="$1" -v what="$2" -v peer="$(median "$3")" -v ours="$(median "$4")" -v wanted="$5" -v kind="${6:-min}" 'BEGIN {
        ratio = kind == "max" ? ours / peer : peer / ours
        met = kind == "max" ? ratio <= wanted : ratio >= wanted
        printf "| %s | %s | %.2f s | %.2f s | %.2f | %s %s | %s |\n", bar, what, peer, ours, ratio, kind == "max" ? "≤" : "≥", wanted, met ? "met" : "MISSED"
    }'
}
# fact BAR WHAT FOUND WANTED MET
fact() { echo "| $1 | $2 | | $3 | | $4 | $([ "$5" = 1 ] && echo met || echo MISSED) |"; }

echo "| bar | what | peer | imgferry | ratio | bar | |"
echo "|---|---|---|---|---|---|---|"

if has a; then
    for ((i = 0; i < rounds; i++)); do
        fresh "$disk"; clock loop3 "$base" compress "$disk" "$dir/out.loop" 3
        peer_size=$(stat -c %s "$dir/out.loop")
        fresh "$disk"; clock default "$bin" -q convert "$disk" "$dir/out.zvhd2"
        size=$(stat -c %s "$dir/out.zvhd2")
        fresh "$disk"; clock level3 "$bin" -q convert --level 3 "$disk" "$dir/out.zvhd2"
    done
    row a "raw → ZVHD2, default level; loop at level 3" loop3 default 3
    row a "the same, both at level 3" loop3 level3 1.9
    ratio=$(awk "BEGIN { printf \"%.3f\", $size / $peer_size }")
    fact a "size of the output, to the loop's" "$ratio" "≤ 1.10" "$(awk "BEGIN { print $ratio <= 1.10 }")"
fi

if has b; then
    # The first GiB of data, alone and in 16 stretches over 200 GiB.
    if [ ! -e "$dir/wide.raw" ]; then
        truncate -s 200G "$dir/wide.raw"
        for ((i = 0; i < 16; i++)); do
            dd if="$disk" of="$dir/wide.raw" bs=1M count=64 skip=$((i * 128)) seek=$((i * 12800)) conv=notrunc status=none
            dd if="$disk" of="$dir/full.raw" bs=1M count=64 skip=$((i * 128)) seek=$((i * 64)) conv=notrunc status=none
        done
    fi
    for ((i = 0; i < rounds; i++)); do
        fresh "$dir/full.raw"; clock full "$bin" -q convert "$dir/full.raw" "$dir/out.zvhd2"
        fresh
        for ((j = 0; j < 16; j++)); do dd if="$dir/wide.raw" of=/dev/null bs=1M count=64 skip=$((j * 12800)) status=none; done
        clock wide "$bin" -q convert "$dir/wide.raw" "$dir/out.zvhd2"
    done
    row b "200 GiB that hold 1 GiB; that GiB alone" full wide 1.3 max
fi

if has c || has d; then
    [ -e "$dir/plain.qcow2" ] || qemu-img convert -f raw -O qcow2 "$disk" "$dir/plain.qcow2"
    for type in zlib zstd; do
        [ -e "$dir/$type.qcow2" ] || qemu-img convert -f raw -W -m 16 -c -O qcow2 -o compression_type=$type "$disk" "$dir/$type.qcow2"
    done
fi

if has c; then
    qemu_then_loop() { qemu-img convert -O raw "$1" "$dir/out.raw" && "$base" compress "$dir/out.raw" "$dir/out.loop" 3; }
    export -f qemu_then_loop
    export dir base
    for type in zlib zstd; do
        for ((i = 0; i < rounds; i++)); do
            fresh "$dir/$type.qcow2"; clock "loop-$type" bash -c 'qemu_then_loop "$1"' _ "$dir/$type.qcow2"
            fresh "$dir/$type.qcow2"; clock "ours-$type" "$bin" -q convert "$dir/$type.qcow2" "$dir/out.zvhd2"
        done
        row c "qcow2 $type → ZVHD2; qemu-img to raw, then the loop" "loop-$type" "ours-$type" 3
    done
fi

if has d; then
    [ -e "$dir/disk.vhd" ] || qemu-img convert -f raw -O vpc "$disk" "$dir/disk.vhd"
    [ -e "$dir/disk.vhdx" ] || qemu-img convert -f raw -O vhdx "$disk" "$dir/disk.vhdx"
    for type in monolithicSparse streamOptimized; do
        [ -e "$dir/$type.vmdk" ] || qemu-img convert -f raw -O vmdk -o subformat=$type "$disk" "$dir/$type.vmdk"
    done
    for source in plain.qcow2:1.0 disk.vhd:1.0 disk.vhdx:1.0 monolithicSparse.vmdk:1.0 zlib.qcow2:1.5 zstd.qcow2:1.5 \
        streamOptimized.vmdk:1.5; do
        wanted=${source#*:}
        source=${source%:*}
        for ((i = 0; i < rounds; i++)); do
            fresh "$dir/$source"; clock "qemu-$source" qemu-img convert -W -m 16 -O raw "$dir/$source" "$dir/out.raw"
            fresh "$dir/$source"; clock "nosync-$source" "$bin" -q convert --no-sync "$dir/$source" "$dir/out.raw"
            fresh "$dir/$source"; clock "qemusync-$source" bash -c 'qemu-img convert -W -m 16 -O raw "$1" "$2" && sync "$2"' _ "$dir/$source" "$dir/out.raw"
            fresh "$dir/$source"; clock "ours-$source" "$bin" -q convert "$dir/$source" "$dir/out.raw"
        done
        row d "$source → raw, --no-sync; qemu-img" "qemu-$source" "nosync-$source" "$wanted"
        row d "$source → raw, on disk; qemu-img and sync" "qemusync-$source" "ours-$source" "$wanted"
        row d "$source → raw, on disk; qemu-img, not on disk" "qemu-$source" "ours-$source" "$wanted"
    done
fi

if has e; then
    [ -e "$dir/disk.zvhd2" ] || "$bin" -q convert "$disk" "$dir/disk.zvhd2" >/dev/null
    for ((i = 0; i < rounds; i++)); do
        fresh "$dir/disk.zvhd2"; clock decode "$base" decode "$dir/disk.zvhd2" "$dir/out.raw"
        fresh "$dir/disk.zvhd2"; clock toraw "$bin" -q convert "$dir/disk.zvhd2" "$dir/out.raw"
    done
    row e "ZVHD2 → raw; the decode loop" decode toraw 2
fi

if has f; then
    for ((i = 0; i < rounds; i++)); do
        fresh "$disk"
        # Seconds that all cores together need for SHA-256 of the data, from the speed of one.
        ${RUN:-} "$base" sha256 "$disk" >>"$dir/times/sha"
        fresh "$disk"; clock digest "$bin" -q digest "$disk"
    done
    row f "digest; SHA-256 of the same bytes by all cores" sha digest 0.9
fi

if has g; then
    # held WHAT ARGUMENTS…: largest resident size against the bound that the plan names.
    held() {
        local what=$1 planned found
        shift
        planned=$("$bin" "$@" --json 2>/dev/null | python3 -c '
import json, sys
def find(x):
    if isinstance(x, dict):
        if "memory" in x and isinstance(x["memory"], dict) and "budget" in x["memory"]:
            return sum(v for k, v in x["memory"].items() if k != "budget" and isinstance(v, int))
        x = list(x.values())
    if isinstance(x, list):
        for y in x:
            found = find(y)
            if found: return found
print((find(json.load(sys.stdin)) or 0) >> 20)')
        rm -rf "$dir"/out.* "$dir/cloud"
        /usr/bin/time -f %M -o "$dir/times/rss" "$bin" "$@" -q >/dev/null 2>&1
        found=$(($(cat "$dir/times/rss") / 1024))
        fact g "memory of $what" "$found MiB of $planned planned" "≤ plan, ≤ 256 MiB" "$((found <= planned && planned <= 256))"
    }
    fresh
    held "convert to ZVHD2" convert --force "$disk" "$dir/out.zvhd2"
    held "convert to raw" convert --force "$disk" "$dir/out.raw"
    # sent WHAT ARGUMENTS…: the same for an import, which tells both itself; the sandbox is in its process.
    sent() {
        local what=$1 planned found
        shift
        rm -rf "$dir/cloud"
        read -r found planned < <("$bin" import "$disk" --name bench --bucket bench --type DataImage --sandbox "$@" --json -q 2>/dev/null | python3 -c '
import json, sys
told = json.load(sys.stdin)
print(told["peak_memory"] >> 20, told["memory_bound"] >> 20)')
        fact g "memory of $what" "$found MiB of $planned planned" "≤ plan, ≤ 256 MiB" "$((found <= planned && planned <= 256))"
    }
    sent "import as ZVHD2, sandbox in the process"
    sent "import as raw, sandbox in the process" --to raw
fi

if has h; then
    [ -e "$dir/disk.zvhd2" ] || "$bin" -q convert "$disk" "$dir/disk.zvhd2" >/dev/null
    rm -rf "$dir/cloud"
    "$bin" sandbox --dir "$dir/cloud" --bucket bench --json >"$dir/times/env" 2>/dev/null &
    server=$!
    until grep -q IMGFERRY_PATH_STYLE "$dir/times/env"; do sleep 0.1; done
    while IFS='=' read -r name value; do export "$name=$value"; done < <(python3 -c '
import json, sys
for name, value in json.load(open(sys.argv[1]))["environment"].items(): print(f"{name}={value}")' "$dir/times/env")
    for ((i = 0; i < rounds; i++)); do
        # What the round before has left to be written would slow the disk down.
        sync; fresh "$disk"; clock h-convert "$bin" -q convert "$disk" "$dir/out.zvhd2"
        sync; fresh "$dir/disk.zvhd2"; clock h-upload "$bin" -q upload --force "$dir/disk.zvhd2" "obs://bench/disk-$i"
        sync; fresh "$disk"; clock h-import "$bin" -q import "$disk" --name "bench-$i" --bucket bench --type DataImage --register none --state-dir "$dir/times/state"
        rm -rf "$dir/cloud/obs/bench/"*
    done
    kill "$server" && wait "$server" || true
    slower=h-convert
    [ "$(awk "BEGIN { print ($(median h-upload) > $(median h-convert)) }")" = 0 ] || slower=h-upload
    echo "| h | convert alone, upload alone | | $(median h-convert) s, $(median h-upload) s | | | |"
    row h "import; the slower of convert and upload" "$slower" h-import 1.15 max
fi
