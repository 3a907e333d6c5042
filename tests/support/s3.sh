#!/usr/bin/env bash
# A private S3 server for tests: versitygw, compiled by Go, once, into the user's cache folder.
#   s3.sh FOLDER [OWNER]  starts one in FOLDER (made anew); when the process OWNER (default: the
#                         caller) has ended, the server is stopped and FOLDER removed
#   s3.sh --stop FOLDER   does that now
# FOLDER/endpoint holds its URL, FOLDER/credentials a shared credentials file, and
# FOLDER/data/BUCKET/KEY each object.
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
version=v1.8.0
program=$HOME/.cache/skerry-tests/versitygw/$version/versitygw

stop() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null || true)
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  rm -rf "$1"
}

. "${self%/*}/private_server.sh"
[ "$1" != --stop ] || stop_named "$@"

folder=$1 owner=${2:-$PPID}
alone
if [ ! -x "$program" ]; then
  mkdir -p "${program%/*}"
  if ! log=$(GOBIN=${program%/*} go install "github.com/versity/versitygw/cmd/versitygw@$version" 2>&1)
  then
    echo "$log" >&2
    exit 1
  fi
fi
stop "$folder"
mkdir -p "$folder/data" "$folder/attributes"
name_server "$folder"
printf '[default]\naws_access_key_id = skerry-tests\naws_secret_access_key = %s\n' \
  "not/a+secret" >"$folder/credentials"
for _ in $(seq 20); do
  port=$((10000 + RANDOM % 20000))
  setsid "$program" --port "127.0.0.1:$port" --access skerry-tests --secret not/a+secret \
    --keep-alive --quiet posix --sidecar "$folder/attributes" "$folder/data" \
    </dev/null >"$folder/log" 2>&1 9>&- &
  echo $! >"$folder/pid"
  for _ in $(seq 200); do
    kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "http://127.0.0.1:$port" >"$folder/endpoint"
      break 2
    fi
    sleep 0.05
  done
done
if [ ! -e "$folder/endpoint" ]; then
  cat "$folder/log" >&2
  stop "$folder"
  exit 1
fi
watch_owner "$folder" "$owner"
