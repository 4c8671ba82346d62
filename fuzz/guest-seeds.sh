#!/usr/bin/env bash
# Makes the small file systems in fuzz/seeds/guest-* anew. They are not the same bytes each time:
# the tools put times and random numbers into them.
# Packages: e2fsprogs xfsprogs btrfs-progs ntfs-3g dosfstools mtools python3
set -euo pipefail
seeds=$(dirname "$(readlink -f "$0")")/seeds
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# A small system: enough for each kind of file and for directories that do not fit into an inode.
mkdir -p t/etc t/usr/lib t/bin t/boot
printf 'ID=debian\nVERSION_ID="12"\n' > t/usr/lib/os-release
ln -s ../usr/lib/os-release t/etc/os-release
ln -s "$(printf 'x%.0s' {1..100})" t/etc/long
printf 'LABEL=root / auto defaults 0 1\n' > t/etc/fstab
head -c 5000 /dev/zero | tr '\0' k > t/boot/vmlinuz
for number in {1..24}; do echo "$number" > "t/etc/a-name-of-a-file-$number"; done

# describe FILE TARGET NAME: as testkit::hostile::Sparse reads it, behind a byte of flags. Of an NTFS
# the log, which is all ones, and the table of capital letters are left out: nothing reads them.
describe() {
    mkdir -p "$seeds/$2"
    python3 - "$1" "$seeds/$2/$3" <<'PY'
import struct, sys
content = open(sys.argv[1], "rb").read()
out = bytearray(b"\1" + struct.pack("<I", len(content)))

for at in range(0, len(content), 512):
    used = content[at : at + 512].rstrip(b"\0")
    words = struct.unpack(f"<{len(used) // 2}H", used[: len(used) // 2 * 2])
    letters = sum(0 <= b - a <= 2 and a > 31 for a, b in zip(words, words[1:])) > 60
    if letters and "ntfs" in sys.argv[2]:
        continue
    if used and used != bytes([255]) * 512:
        out += struct.pack("<IH", at // 512, len(used)) + used
open(sys.argv[2], "wb").write(out)
print(sys.argv[2], len(out))
PY
}

disk() { rm -f image; truncate -s "$1" image; }

disk 512K; mke2fs -q -F -t ext4 -O ^metadata_csum,^has_journal -I 256 -N 64 -b 1024 -d t image
describe image guest-ext ext4
disk 512K; mke2fs -q -F -t ext4 -O ^has_journal -I 256 -N 64 -b 1024 -d t image
describe image guest-ext ext4-checksums
disk 512K; mke2fs -q -F -t ext2 -I 128 -N 64 -b 1024 -d t image 2> /dev/null
describe image guest-ext ext2
disk 110M; mkfs.btrfs -q -n 4096 -m single -d single --mixed --rootdir t image > /dev/null
describe image guest-btrfs mixed
{
    printf -- '-\n0 0\nd--755 0 0\n'
    printf 'usr d--755 0 0\nlib d--755 0 0\nos-release ---644 0 0 t/usr/lib/os-release\n$\n$\n'
    printf 'bin d--755 0 0\n$\nboot d--755 0 0\nvmlinuz ---644 0 0 t/boot/vmlinuz\n$\n'
    printf 'etc d--755 0 0\nos-release l--777 0 0 ../usr/lib/os-release\n'
    for file in t/etc/a-* t/etc/fstab; do printf '%s ---644 0 0 %s\n' "${file##*/}" "$file"; done
    printf '$\n$\n'
} > proto
disk 300M; mkfs.xfs -q -f -p proto image
describe image guest-xfs v5
disk 300M; mkfs.xfs -q -f -m crc=0 -p proto image 2> /dev/null
describe image guest-xfs v4
disk 1100K; mkntfs -q -F -f -c 512 image 2> /dev/null
for file in t/boot/vmlinuz t/etc/fstab t/etc/a-*; do ntfscp -q image "$file" "${file##*/}"; done
describe image guest-ntfs files
for width in 12 16 32; do
    size=(360K 3M 34M)
    disk "${size[width / 16]}"
    mkfs.vfat -F "$width" -s 1 image > /dev/null
    mmd -i image ::/EFI ::/EFI/BOOT
    mcopy -i image t/boot/vmlinuz ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i image t/etc/a-* ::/EFI
    describe image guest-fat "fat$width"
done
