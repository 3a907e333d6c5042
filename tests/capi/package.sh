#!/usr/bin/env bash
# package.sh <cmake> <build directory> <consumer>: installs to a fresh prefix, builds the consumer
# against it by find_package and by pkg-config, and runs both.
set -euo pipefail
cmake=$1 build=$2 consumer=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }
quietly "$cmake" --install "$build" --prefix "$work/prefix"
libdir=$(dirname "$(find "$work/prefix" -name 'libskerry.so.0')")

quietly "$cmake" -S "$consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix"
quietly "$cmake" --build "$work/build"
quietly "$work/build/consumer" "$work/one"

export PKG_CONFIG_PATH="$libdir/pkgconfig"
# shellcheck disable=SC2046  # the flags are words
quietly cc -std=c11 -Wall -Wextra -Werror "$consumer/consumer.c" -o "$work/consumer" \
  $(pkg-config --cflags --libs skerry) "-Wl,-rpath,$libdir"
quietly "$work/consumer" "$work/two"
