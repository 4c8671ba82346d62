#!/usr/bin/env bash
# Makes a half-full raw disk of 4 GiB for measuring: 32 stretches of 64 MiB of this machine's own /usr
# (as tar), each followed by 64 MiB of hole. The content differs from machine to machine, so compare
# figures of one run with each other.
#
# Usage: benches/make-os-disk.sh OUTPUT.raw
set -euo pipefail
out=${1:?name the file to write}
truncate -s 0 "$out"
truncate -s 4G "$out"
# head ends each dd's share; tar is cut off by the last one, which is what set -e must not mind.
{ tar -C / -cf - usr opt 2>/dev/null || true; } | for ((i = 0; i < 32; i++)); do
    dd of="$out" bs=1M count=64 seek=$((i * 128)) iflag=fullblock conv=notrunc status=none
done
# Without this the file would be recognised as a tar archive, and refused.
dd if=/dev/zero of="$out" bs=4096 count=1 conv=notrunc status=none
