#!/usr/bin/env bash
# Makes debian-tree.qcow2: a 2 GiB disk laid out as installers lay it out (GPT, EFI system partition,
# ext4 root), its root holding real files of Debian packages whose licences allow redistribution (each
# package's own is under /usr/share/doc in the image). It holds no boot loader and no kernel: it is a
# disk to move, not to boot.
#
# Needs: fdisk dosfstools mtools e2fsprogs qemu-utils fakeroot, and a Debian package mirror.
# Usage: testdata/make-debian-tree.sh [OUTPUT]
set -euo pipefail
out=$(realpath "${1:-"$(dirname "$0")/debian-tree.qcow2"}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Fixed identities, so that two runs differ as little as possible.
esp_id=6E31-5A01
root_id=0f0ae4b1-5d4a-4a43-9e5c-2d1b7f3c9a10
disk_id=8d3d53e3-6d49-4c38-8349-aff6859e82fd
export SOURCE_DATE_EPOCH=1735689600 E2FSPROGS_FAKE_TIME=1735689600

apt-get download -q base-files base-passwd tzdata netbase media-types libpython3.11-stdlib
mkdir root
for package in *.deb; do dpkg-deb -x "$package" root; done
mkdir -p root/{boot/efi,dev,proc,sys,run,tmp,etc}
printf 'UUID=%s / ext4 errors=remount-ro 0 1\nUUID=%s /boot/efi vfat umask=0077 0 1\n' "$root_id" "$esp_id" > root/etc/fstab
echo imgferry-test > root/etc/hostname

truncate -s 2G disk.raw
sfdisk --quiet disk.raw <<TABLE
label: gpt
label-id: $disk_id
start=2048, size=131072, type=uefi, name="EFI system"
start=133120, type=linux, name="root"
TABLE

truncate -s 64M esp.img
mkfs.vfat -F 32 -i "${esp_id/-/}" -n ESP --invariant esp.img > mkfs.log
mmd -i esp.img ::/EFI ::/EFI/debian
printf 'search.fs_uuid %s root\n' "$root_id" > grub.cfg
mcopy -i esp.img grub.cfg ::/EFI/debian/grub.cfg

# The backup GPT takes the last 33 sectors; the partition ends at a MiB border before it.
truncate -s $((2048 - 65 - 1))M root.img
fakeroot mke2fs -q -F -t ext4 -d root -L root -U "$root_id" -E hash_seed="$root_id",root_owner=0:0 root.img

dd if=esp.img of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=root.img of=disk.raw bs=1M seek=65 conv=notrunc,sparse status=none
qemu-img convert -c -f raw -O qcow2 disk.raw "$out"
qemu-img info "$out"
