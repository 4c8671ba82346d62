#!/usr/bin/env bash
# Makes a raw disk for measuring: stretches of 64 MiB of this machine's own /usr (as tar), spread
# evenly over the disk, with holes between them. The content differs from machine to machine, so
# compare figures of one run with each other.
#
# usage: benches/make-os-disk.sh OUTPUT.raw [GIB [STRETCHES]]   (by default 4 GiB, half full: 32)
set -euo pipefail
out=${1:?name the file to write}
gib=${2:-4}
stretches=${3:-32}
step=$((gib * 1024 / stretches))
truncate -s 0 "$out"
truncate -s "${gib}G" "$out"
# head ends each dd's share; tar is cut off by the last one, which is what set -e must not mind.
{ tar -C / -cf - usr opt 2>/dev/null || true; } | for ((i = 0; i < stretches; i++)); do
    dd of="$out" bs=1M count=64 seek=$((i * step)) iflag=fullblock conv=notrunc status=none
done
# Without this the file would be recognised as a tar archive, and refused.
dd if=/dev/zero of="$out" bs=4096 count=1 conv=notrunc status=none
