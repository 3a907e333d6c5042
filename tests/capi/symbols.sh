#!/usr/bin/env bash
# symbols.sh <libskerry.so> <skerry.h>: the library exports the header's functions, all of them and
# nothing else, and needs no library that a user would not expect.
set -euo pipefail
library=$1 header=$2
exported=$(nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^SKERRY_' |
  sed 's/@.*//' | sort -u)
declared=$(sed -n 's/^SKERRY_API [^(]*[ *]\(skerry_[a-z0-9_]*\)(.*/\1/p' "$header" | sort -u)
if ! diff <(echo "$declared") <(echo "$exported"); then
  echo "the header's functions (<) and the exported symbols (>) differ" >&2
  exit 1
fi
[ -n "$declared" ] || { echo "no function found in $header" >&2; exit 1; }
unversioned=$(nm -D --defined-only --with-symbol-versions "$library" | grep ' skerry_' |
  grep -v '@@SKERRY_' || true)
[ -z "$unversioned" ] || { echo "without a version: $unversioned" >&2; exit 1; }
readelf -d "$library" | grep -q 'SONAME.*libskerry\.so\.0' || { echo "no SONAME" >&2; exit 1; }
unexpected=$(readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
  grep -vE '^(libsqlite3|libpq|libcurl|libcrypto|liblz4|libzstd|libstdc\+\+|libgcc_s|libm|libc|ld-linux.*|libasan|libubsan|libtsan)\.so' ||
  true)
[ -z "$unexpected" ] || { echo "links $unexpected" >&2; exit 1; }
