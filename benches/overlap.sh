#!/usr/bin/env bash
# How much of the shorter of conversion and upload an import hides: a disk is converted, the result uploaded, and the disk
# imported, over a line of a given rate. Client and server are two hosts: network namespaces, joined by a
# pair of virtual interfaces on which a token bucket lets the client send at that rate.
#
# usage: benches/overlap.sh [RATE [ROUNDS]]       (as root; RATE as tc writes it: 1gbit by default)
#   IMGFERRY=…   binary to measure (default: target/release/imgferry)
#   DISK=…       disk to import (default: a new one of benches/make-os-disk.sh)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
rate=${1:-1gbit}
rounds=${2:-3}
bin=${IMGFERRY:-$here/target/release/imgferry}
dir=$(mktemp -d "${TMPDIR:-/tmp}/overlap.XXXXXX")
space=imgferry-overlap-$$
[ "$(id -u)" = 0 ] || { echo "network namespaces need root: sudo benches/overlap.sh" >&2; exit 1; }
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    ip netns del "$space" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

disk=${DISK:-$dir/disk.raw}
[ -e "$disk" ] || "$here/benches/make-os-disk.sh" "$disk"

ip netns add "$space"
ip link add "ferry$$" type veth peer name line netns "$space"
ip addr add 10.209.1.1/30 dev "ferry$$"
ip link set "ferry$$" up
client() { ip netns exec "$space" "$@"; }
client ip addr add 10.209.1.2/30 dev line
client ip link set line up
client tc qdisc add dev line root tbf rate "$rate" burst 512kb latency 50ms

"$bin" sandbox --listen 10.209.1.1:9000 --dir "$dir/cloud" --bucket bench --json >"$dir/env" 2>/dev/null &
server=$!
until grep -q IMGFERRY_PATH_STYLE "$dir/env"; do
    kill -0 "$server" 2>/dev/null || { echo "no sandbox: is $bin built, and 10.209.1.1:9000 free?" >&2; exit 1; }
    sleep 0.1
done
while IFS='=' read -r name value; do export "$name=$value"; done < <(python3 -c '
import json, sys
for name, value in json.load(open(sys.argv[1]))["environment"].items(): print(f"{name}={value}")' "$dir/env")
export XDG_STATE_HOME=$dir/state

clock() { # name, command…
    local name=$1 start end
    shift
    start=$(date +%s.%N)
    client "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
    end=$(date +%s.%N)
    echo "$start $end" | awk '{ print $2 - $1 }' >>"$dir/$name"
}
median() { sort -n "$dir/$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((i = 0; i < rounds; i++)); do
    rm -f "$dir/out.zvhd2"
    cat "$disk" >/dev/null
    clock convert "$bin" -q convert "$disk" "$dir/out.zvhd2"
    cat "$dir/out.zvhd2" >/dev/null
    clock upload "$bin" -q upload --allow-http --force "$dir/out.zvhd2" "obs://bench/disk-$i"
    clock import "$bin" -q import --allow-http "$disk" --name "bench-$i" --bucket bench --type DataImage --register none
    rm -rf "$dir/cloud/obs/bench/"*
done
awk -v rate="$rate" -v convert="$(median convert)" -v upload="$(median upload)" -v import="$(median import)" 'BEGIN {
    longer = convert > upload ? convert : upload
    printf "| %s | %.2f | %.2f | %.2f | %.2f |\n", rate, convert, upload, import, import / longer
}'
