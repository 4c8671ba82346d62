# Two hosts and the line between them, for the benches that measure transfers: network namespaces,
# joined by a pair of virtual interfaces on which a token bucket lets the client send at a given
# rate. To be sourced; needs root.
#
#   line_up RATE      sets up the line; RATE as tc writes it
#   client COMMAND    runs a command on the client's host
#   storage           starts a sandbox with the bucket `bench` on the other host, and exports its
#                     settings
# `$dir` is a directory for the caller's files. Everything is removed at exit.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${IMGFERRY:-$here/target/release/imgferry}
dir=$(mktemp -d "${TMPDIR:-/tmp}/line.XXXXXX")
space=imgferry-line-$$
server=
[ "$(id -u)" = 0 ] || { echo "network namespaces need root: sudo $0" >&2; exit 1; }

line_down() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    ip netns del "$space" 2>/dev/null || true
    rm -rf "$dir"
}
trap line_down EXIT

client() { ip netns exec "$space" "$@"; }

line_up() {
    ip netns add "$space"
    ip link add "ferry$$" type veth peer name line netns "$space"
    ip addr add 10.209.1.1/30 dev "ferry$$"
    ip link set "ferry$$" up
    client ip addr add 10.209.1.2/30 dev line
    client ip link set line up
    client tc qdisc add dev line root tbf rate "$1" burst 512kb latency 50ms
}

storage() {
    "$bin" sandbox --listen 10.209.1.1:9000 --dir "$dir/cloud" --bucket bench --json \
        >"$dir/env" 2>/dev/null &
    server=$!
    until grep -q IMGFERRY_PATH_STYLE "$dir/env"; do
        kill -0 "$server" 2>/dev/null || {
            echo "no sandbox: is $bin built, and 10.209.1.1:9000 free?" >&2
            exit 1
        }
        sleep 0.1
    done
    while IFS='=' read -r name value; do export "$name=$value"; done < <(python3 -c '
import json, sys
for name, value in json.load(open(sys.argv[1]))["environment"].items(): print(f"{name}={value}")' \
        "$dir/env")
    export XDG_STATE_HOME=$dir/state
}

# Runs a command on the client's host; adds its seconds to the file `NAME` in $dir.
clock() { # NAME COMMAND…
    local name=$1 start end
    shift
    start=$(date +%s.%N)
    client "$@" >"$dir/log" 2>"$dir/err" || { cat "$dir/log" "$dir/err" >&2; exit 1; }
    end=$(date +%s.%N)
    echo "$start $end" | awk '{ print $2 - $1 }' >>"$dir/$name"
}

median() { sort -n "$dir/$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
