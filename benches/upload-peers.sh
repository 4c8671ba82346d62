#!/usr/bin/env bash
# Throughput to the embedded server: imgferry upload against s3cmd, rclone and aws, where they are installed.
# usage: benches/upload-peers.sh [MIB]        (needs a release build: cargo build --release)
set -euo pipefail
size=${1:-1024}
bin=${IMGFERRY:-target/release/imgferry}
dir=$(mktemp -d "${TMPDIR:-/tmp}/upload-peers.XXXXXX")
"$bin" sandbox --dir "$dir/cloud" --bucket bench --json >"$dir/env.json" 2>/dev/null &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
head -c "${size}M" /dev/urandom >"$dir/file"
until grep -q IMGFERRY_PATH_STYLE "$dir/env.json" 2>/dev/null; do sleep 0.1; done
get() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["environment"][sys.argv[2]])' "$dir/env.json" "$1"; }
for name in HW_ACCESS_KEY HW_SECRET_KEY HW_REGION_NAME HW_PROJECT_ID IMGFERRY_OBS_ENDPOINT IMGFERRY_IAM_ENDPOINT IMGFERRY_IMS_ENDPOINT; do
    export "$name=$(get "$name")"
done
export IMGFERRY_PATH_STYLE=true AWS_ACCESS_KEY_ID=$HW_ACCESS_KEY AWS_SECRET_ACCESS_KEY=$HW_SECRET_KEY AWS_REGION=$HW_REGION_NAME AWS_DEFAULT_REGION=$HW_REGION_NAME
export AWS_REQUEST_CHECKSUM_CALCULATION=when_required AWS_RESPONSE_CHECKSUM_VALIDATION=when_required
host=${IMGFERRY_OBS_ENDPOINT#http://}; host=${host%/}

measure() { # name, command…
    local name=$1 start end; shift
    rm -rf "$dir/cloud/obs/bench/"* 2>/dev/null || true
    cat "$dir/file" >/dev/null
    start=$(date +%s.%N)
    if ! "$@" >"$dir/log" 2>&1; then echo "$name failed:"; tail -3 "$dir/log"; return 0; fi
    end=$(date +%s.%N)
    python3 -c "t=$end-$start; print(f'{\"$name\":34} {t:7.2f} s {$size*1.048576/t:8.0f} MB/s')"
}
measure "imgferry upload" "$bin" -q upload --force "$dir/file" obs://bench/file
measure "imgferry upload --concurrency 4" "$bin" -q upload --force --concurrency 4 "$dir/file" obs://bench/file
if command -v s3cmd >/dev/null; then
    measure "s3cmd put" s3cmd --no-ssl --host="$host" --host-bucket="$host" --region="$HW_REGION_NAME" \
        --access_key="$HW_ACCESS_KEY" --secret_key="$HW_SECRET_KEY" --signature-v2=False put "$dir/file" s3://bench/file
fi
if command -v rclone >/dev/null; then
    measure "rclone copyto" rclone copyto --config /dev/null "$dir/file" \
        ":s3,provider=HuaweiOBS,force_path_style=true,env_auth=true,region=$HW_REGION_NAME,endpoint='$IMGFERRY_OBS_ENDPOINT':bench/file"
fi
if command -v aws >/dev/null; then
    measure "aws s3 cp" aws --endpoint-url "$IMGFERRY_OBS_ENDPOINT" s3 cp "$dir/file" s3://bench/file
fi
