#!/usr/bin/env bash
# Builds Skerry and runs its main job: a real file tree in a volume on SQLite and a local directory.
# As root on a fresh Debian 12 it installs what it needs. Can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/install.sh build

echo "building (log: build-quickstart.log)"
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
if ! { cmake -G Ninja -S . -B build-quickstart "${launcher[@]}" -DSKERRY_TESTS=OFF &&
       ninja -C build-quickstart; } >build-quickstart.log 2>&1; then
  tail -n 40 build-quickstart.log
  exit 1
fi

export SKERRY_LIBRARY=$PWD/build-quickstart/lib/libskerry.so
export PATH=$PWD/build-quickstart/bindings:$PATH
export PYTHONPATH=$PWD/bindings/python
exec python3 examples/quickstart.py "$@"
