#!/usr/bin/env bash
# What an import that is based on an earlier one saves: a disk of 20 GiB with 4 GiB of data is
# imported, 1 % of its data changes in 200 places, and it is imported again over a line of a given
# rate: whole, and based on the first one's object. The objects must hold the same disk.
#
# usage: benches/delta.sh [RATE [ROUNDS]]      (as root; RATE as tc writes it: 200mbit by default)
#   IMGFERRY=…   binary to measure (default: target/release/imgferry)
#   MIN_PART=…   --min-part of the second kind (default: 100KiB)
set -euo pipefail
. "$(dirname "$0")/line.sh"
rate=${1:-200mbit}
rounds=${2:-3}
places=200

disk=$dir/disk.raw
"$here/benches/make-os-disk.sh" "$disk" 20 64
line_up "$rate"
storage

# Each place gets other data of the same disk, so that it compresses as the rest does.
change() { # SEED
    python3 - "$disk" "$places" "$1" <<'END'
import random, sys
disk, places, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
stretch, step, stretches = 64 << 20, 320 << 20, 64
size = (stretch * stretches) // 100 // places
choose = random.Random(seed)
def place():
    offset = choose.randrange(0, stretch - size, 4096)
    return choose.randrange(stretches) * step + offset
with open(disk, "r+b") as file:
    for _ in range(places):
        file.seek(place())
        data = file.read(size)
        file.seek(max(place(), 4096))
        file.write(data)
END
}
sent() { client cat /sys/class/net/line/statistics/tx_bytes; }
import() { # KIND NAME OPTION…
    local kind=$1 name=$2 before
    shift 2
    cat "$disk" >/dev/null
    before=$(sent)
    clock "$kind" "$bin" -q import --allow-http "$disk" --name "$name" --bucket bench \
        --type DataImage --register none --json "$@"
    echo $(($(sent) - before)) >>"$dir/$kind.bytes"
    digest=$(python3 -c '
import json, sys
print(json.load(open(sys.argv[1]))["digest"])' "$dir/log")
}

import first base
previous=base.zvhd2
for ((i = 0; i < rounds; i++)); do
    change "$i"
    import whole "whole-$i"
    expected=$digest
    import delta "delta-$i" --base "$previous" --min-part "${MIN_PART:-100KiB}"
    previous=delta-$i.zvhd2
    "$bin" -q digest "$dir/cloud/obs/bench/$previous" >"$dir/judge"
    [ "$digest" = "$expected" ] && grep -qF "${expected##*:}" "$dir/judge" || {
        echo "the objects hold different disks" >&2
        exit 1
    }
    rm -f "$dir/cloud/obs/bench/whole-$i"*
done
awk -v rate="$rate" -v whole="$(median whole)" -v delta="$(median delta)" \
    -v all="$(median whole.bytes)" -v some="$(median delta.bytes)" 'BEGIN {
    printf "| %s | %.1f | %.1f | %.3f | %.0f | %.0f | %.3f |\n",
        rate, whole, delta, delta / whole, all / 1048576, some / 1048576, some / all
}'
