# What the scripts of private servers share; sourced by them. Each defines stop FOLDER, which ends
# the server and removes FOLDER, and $self, its own path.

# One at a time: a watcher that wakes late must not remove the server that took its folder over.
alone() { exec 9<"$self" && flock 9; }

# --stop FOLDER [NAME]: NAME is that of the server that is meant.
stop_named() {
  alone
  [ $# -lt 3 ] || [ "$(cat "$2/started" 2>/dev/null)" = "$3" ] || exit 0
  stop "$2"
  exit 0
}

# Gives the server in FOLDER a name, for watch_owner.
name_server() {
  name=$$.$(date +%s%N)
  echo "$name" >"$1/started"
}

# watch_owner FOLDER OWNER: stops the named server when the process OWNER has ended. Outlives the script
# and its terminal; holds none of its descriptors.
watch_owner() {
  setsid bash -c '
    while kill -0 "$1" 2>/dev/null && [ "$(cat "$2/started" 2>/dev/null)" = "$3" ]; do
      sleep 0.3
    done
    exec "$0" --stop "$2" "$3"' "$self" "$2" "$1" "$name" \
    </dev/null >/dev/null 2>&1 9>&- &
}
