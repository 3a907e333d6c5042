#!/usr/bin/env bash
# Installs what building and testing Skerry needs on Debian 12, from Debian's packages; silent and
# quick where everything is there. Usage: tests/install.sh [build|test]
set -euo pipefail
build=(g++ cmake ninja-build pkg-config libboost1.81-dev libsqlite3-dev libpq-dev
       libcurl4-openssl-dev libssl-dev liblz4-dev libzstd-dev nlohmann-json3-dev
       libcli11-dev libfuse3-dev python3)
test=(catch2 python3-pytest python3-venv python3-pip clang libclang-rt-14-dev clang-format
      sqlite3 binutils fuse3 acl attr e2fsprogs libcap2-bin fio dbench stress-ng git
      postgresql patroni python3-etcd etcd-server faketime iproute2)
want=("${build[@]}")
[ "${1:-test}" = build ] || want+=("${test[@]}")
# fsx, of the mount's tests, is compiled from crates.io; porcupine and Toxiproxy, of those with
# PostgreSQL, and the S3 servers from Go's module proxy.
[ "${1:-test}" = build ] || command -v cargo >/dev/null || want+=(cargo-web)
[ "${1:-test}" = build ] || command -v go >/dev/null || want+=(golang-go)
missing=()
for package in "${want[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
    missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# The servers are for the tests to start: none is started by being installed, nor at the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' 2>/dev/null >"$policy"; then
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
  cat "$log" >&2
  echo "tests/install.sh: installing failed; run as root with access to Debian's packages" >&2
  exit 1
fi
rm -f "$log"
for service in etcd patroni; do
  case " ${missing[*]} " in
    *" $service "* | *" $service-server "*)
      update-rc.d "$service" disable >/dev/null 2>&1 || true
      deb-systemd-helper disable "$service.service" >/dev/null 2>&1 || true ;;
  esac
done
