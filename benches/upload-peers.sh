#!/usr/bin/env bash
# Throughput to the embedded server: imgferry upload against s3cmd, rclone and aws, where they are installed.
# Rounds are interleaved; medians are printed at the end, with the CPU seconds of client and server.
# usage: benches/upload-peers.sh [MIB [ROUNDS]]        (needs a release build: cargo build --release)
set -euo pipefail
size=${1:-1024}
rounds=${2:-3}
bin=${IMGFERRY:-target/release/imgferry}
dir=$(mktemp -d "${TMPDIR:-/tmp}/upload-peers.XXXXXX")
"$bin" sandbox --dir "$dir/cloud" --bucket bench --json >"$dir/env.json" 2>/dev/null &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
head -c "${size}M" /dev/urandom >"$dir/file"
until grep -q IMGFERRY_PATH_STYLE "$dir/env.json" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || { echo "no sandbox: is $bin built?" >&2; exit 1; }
    sleep 0.1
done
get() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["environment"][sys.argv[2]])' "$dir/env.json" "$1"; }
for name in HW_ACCESS_KEY HW_SECRET_KEY HW_REGION_NAME HW_PROJECT_ID IMGFERRY_OBS_ENDPOINT IMGFERRY_IAM_ENDPOINT IMGFERRY_IMS_ENDPOINT; do
    export "$name=$(get "$name")"
done
export IMGFERRY_PATH_STYLE=true AWS_ACCESS_KEY_ID=$HW_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$HW_SECRET_KEY AWS_REGION=$HW_REGION_NAME AWS_DEFAULT_REGION=$HW_REGION_NAME
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required
host=${IMGFERRY_OBS_ENDPOINT#http://}; host=${host%/}

export XDG_STATE_HOME=$dir/state
: >"$dir/figures"
ticks=$(getconf CLK_TCK)
used() { awk -v t="$ticks" '{ print ($14 + $15) / t }' "/proc/$server/stat"; }
measure() { # name, command…
    local name=$1 start end before; shift
    rm -rf "$dir/cloud/obs/bench/"* 2>/dev/null || true
    cat "$dir/file" >/dev/null
    before=$(used)
    start=$(date +%s.%N)
    if ! bash -c 'TIMEFORMAT="%U %S"; time "$@" >"$0" 2>&1' "$dir/log" "$@" 2>"$dir/time"; then echo "$name failed:"; tail -3 "$dir/log"; return 0; fi
    end=$(date +%s.%N)
    echo "$name;$(echo "$end $start" | awk '{ print $1 - $2 }');$(tail -1 "$dir/time" | awk '{ print $1 + $2 }');$(echo "$(used) $before" | awk '{ print $1 - $2 }')" >>"$dir/figures"
}
for ((round = 0; round < rounds; round++)); do
    measure "imgferry upload" "$bin" -q upload --force "$dir/file" obs://bench/file
    measure "imgferry upload --concurrency 4" "$bin" -q upload --force --concurrency 4 "$dir/file" obs://bench/file
    if command -v s3cmd >/dev/null; then
        measure "s3cmd put" s3cmd --no-ssl --host="$host" --host-bucket="$host" --region="$HW_REGION_NAME" \
            --access_key="$HW_ACCESS_KEY" --secret_key="$HW_SECRET_KEY" put "$dir/file" s3://bench/file
    fi
    if command -v rclone >/dev/null; then
        # Its HuaweiOBS provider puts the bucket into the host name, which has no address here.
        measure "rclone copyto" env -u AWS_CA_BUNDLE rclone copyto --config /dev/null "$dir/file" \
            ":s3,provider=Other,force_path_style=true,env_auth=true,region=$HW_REGION_NAME,endpoint='$IMGFERRY_OBS_ENDPOINT':bench/file"
    fi
    if command -v aws >/dev/null; then
        measure "aws s3 cp" aws --endpoint-url "$IMGFERRY_OBS_ENDPOINT" s3 cp "$dir/file" s3://bench/file
    fi
done
python3 - "$dir/figures" "$size" <<'PY'
import sys, statistics
rows = {}
for line in open(sys.argv[1]):
    name, *figures = line.strip().split(";")
    rows.setdefault(name, []).append([float(f) for f in figures])
for name, runs in rows.items():
    wall, client, server = (statistics.median(column) for column in zip(*runs))
    rate = int(sys.argv[2]) * 1.048576 / wall
    print(f"{name:34} {wall:6.2f} s {rate:6.0f} MB/s   CPU: client {client:5.2f} s, server {server:5.2f} s   {[r[0] for r in runs]}")
PY
