#!/usr/bin/env bash
# A private PostgreSQL server for tests.
#   postgres.sh FOLDER [OWNER]  starts one in FOLDER (made anew), reached by the socket in it; when
#                               the process OWNER (default: the caller) has ended, the server is
#                               stopped and FOLDER removed
#   postgres.sh --stop FOLDER   does that now
# Databases: postgres, latin1. Users: postgres and guest (trusted; guest may not create schemas),
# locked_out (password "let me in").
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")

newest() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true; }
bin=$(newest)
if [ -z "$bin" ] || [ ! -x "$bin/initdb" ]; then
  echo "no PostgreSQL server in /usr/lib/postgresql; install Debian's package postgresql" >&2
  exit 1
fi
# The server refuses to run as root.
as_server() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=postgres --regid=postgres --clear-groups --reset-env "$@" 9>&-
  else
    "$@" 9>&-
  fi
}

stop() {
  as_server "$bin/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$1"
}

. "${self%/*}/private_server.sh"
[ "$1" != --stop ] || stop_named "$@"

folder=$1 owner=${2:-$PPID}
alone
stop "$folder"
mkdir -p "$folder"
name_server "$folder"
chmod 755 "$folder"
[ "$(id -u)" != 0 ] || chown postgres:postgres "$folder"
cd "$folder"
trap 'cat "$folder"/*log >&2 2>/dev/null || true; stop "$folder"' ERR
as_server "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --no-locale --no-sync \
  >"$folder/initdb.log" 2>&1
cat >>"$folder/data/postgresql.conf" <<SETTINGS
listen_addresses = ''
unix_socket_directories = '$folder'
unix_socket_permissions = 0777
max_connections = 200
shared_buffers = 32MB
fsync = off
full_page_writes = off
autovacuum_naptime = 5s
log_min_messages = fatal
deadlock_timeout = 100ms
SETTINGS
cat >"$folder/data/pg_hba.conf" <<RULES
local all locked_out scram-sha-256
local all all trust
RULES
as_server "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w start >/dev/null
as_server "$bin/psql" -qX -h "$folder" -U postgres -d postgres \
  -c "CREATE ROLE locked_out LOGIN PASSWORD 'let me in'" \
  -c "CREATE ROLE guest LOGIN" \
  -c "CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0" >/dev/null
trap - ERR
watch_owner "$folder" "$owner"
