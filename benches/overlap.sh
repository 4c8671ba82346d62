#!/usr/bin/env bash
# How much of the shorter of conversion and upload an import hides: a disk is converted, the result
# uploaded, and the disk imported, over a line of a given rate between two hosts.
#
# usage: benches/overlap.sh [RATE [ROUNDS]]       (as root; RATE as tc writes it: 1gbit by default)
#   IMGFERRY=…   binary to measure (default: target/release/imgferry)
#   DISK=…       disk to import (default: a new one of benches/make-os-disk.sh)
set -euo pipefail
. "$(dirname "$0")/line.sh"
rate=${1:-1gbit}
rounds=${2:-3}

disk=${DISK:-$dir/disk.raw}
[ -e "$disk" ] || "$here/benches/make-os-disk.sh" "$disk"
line_up "$rate"
storage

for ((i = 0; i < rounds; i++)); do
    rm -f "$dir/out.zvhd2"
    cat "$disk" >/dev/null
    clock convert "$bin" -q convert "$disk" "$dir/out.zvhd2"
    cat "$dir/out.zvhd2" >/dev/null
    clock upload "$bin" -q upload --allow-http --force "$dir/out.zvhd2" "obs://bench/disk-$i"
    clock import "$bin" -q import --allow-http "$disk" --name "bench-$i" --bucket bench \
        --type DataImage --register none
    rm -rf "$dir/cloud/obs/bench/"*
done
awk -v rate="$rate" -v convert="$(median convert)" -v upload="$(median upload)" \
    -v import="$(median import)" 'BEGIN {
    longer = convert > upload ? convert : upload
    printf "| %s | %.2f | %.2f | %.2f | %.2f |\n", rate, convert, upload, import, import / longer
}'
