#!/bin/sh
# Shows what a cache does: reads real files through one twice, from an origin
# that is slowed down, and has sha256sum check what was read against the files
# themselves. Under a minute; everything it makes is removed at the end.
#
#   DEMO_ORIGIN   a directory with some hundred megabytes of files   /usr/lib
#   DEMO_MB       how much of it to read                             300
#   DEMO_RATE_MB  megabytes a second that the origin gives           60
set -eu
cd "$(dirname "$0")"

ORIGIN=${DEMO_ORIGIN:-/usr/lib}
MEGABYTES=${DEMO_MB:-300}
RATE_MB=${DEMO_RATE_MB:-60}

# /tmp is memory on many systems, which is not what a cache is for.
WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/cachefs-demo.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
trap 'exit 1' HUP INT TERM

# From every class of sizes its share, in the order of the names, so that the
# same files are chosen each time: many small ones, some large ones, and none
# above 64 MiB. sha256sum would write names with a backslash differently.
choose_files() {
    find "$ORIGIN" -xdev -type f -readable ! -path '*[[:cntrl:]\\]*' -printf '%s %P\n' |
        LC_ALL=C sort -k 2 |
        awk -v budget="$((MEGABYTES * 1000000))" '
            BEGIN {
                split("65536 1048576 8388608 67108864", limit)
                split("0.05 0.20 0.35 0.40", share)
            }
            $1 > 0 {
                for (class = 1; class <= 4 && $1 > limit[class]; class++)
                    ;
                if (class > 4 || used[class] + $1 > budget * share[class])
                    next
                used[class] += $1
                sub(/^[0-9]+ /, "")
                print
            }'
}

choose_files > "$WORK/list"
[ -s "$WORK/list" ] || { echo "demo.sh: no files in $ORIGIN" >&2; exit 1; }

./quickstart "$ORIGIN" "$WORK/cache" "$WORK/list" "$RATE_MB" "$WORK/first" "$WORK/second"

# By a tool that knows nothing of caches, against the files themselves.
echo
for pass in first second; do
    [ "$(wc -l < "$WORK/$pass")" = "$(wc -l < "$WORK/list")" ]
    (cd "$ORIGIN" && sha256sum --check --quiet "$WORK/$pass")
    echo "$pass pass: sha256sum confirms all $(wc -l < "$WORK/$pass") files"
done
