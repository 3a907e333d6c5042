#!/usr/bin/env bash
# Installs what building and testing Skerry needs on Debian 12, from Debian's packages; silent and
# quick where everything is there. Usage: tests/install.sh [build|test]
set -euo pipefail
build=(g++ cmake ninja-build pkg-config libboost1.81-dev libsqlite3-dev libpq-dev
       nlohmann-json3-dev libcli11-dev libfuse3-dev python3)
test=(catch2 python3-pytest python3-venv python3-pip clang libclang-rt-14-dev clang-format
      sqlite3 binutils fuse3 acl attr e2fsprogs libcap2-bin fio dbench stress-ng git postgresql)
want=("${build[@]}")
[ "${1:-test}" = build ] || want+=("${test[@]}")
# fsx, of the mount's tests, is compiled from crates.io.
[ "${1:-test}" = build ] || command -v cargo >/dev/null || want+=(cargo-web)
missing=()
for package in "${want[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
    missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
  cat "$log" >&2
  echo "tests/install.sh: installing failed; run as root with access to Debian's packages" >&2
  exit 1
fi
rm -f "$log"
