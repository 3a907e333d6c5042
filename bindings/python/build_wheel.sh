#!/bin/sh
# Builds a wheel that contains libskerry.so.
#
#   build_wheel.sh [--library FILE] [--build DIR] [--out DIR]
#
# Without --library the CMake target `skerry` is built in DIR (default: build). The wheel lands in
# OUT (default: dist). PYTHON names the interpreter; it needs pip, setuptools and wheel, no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
library= build=$root/build out=$root/dist
while [ $# -gt 0 ]; do
  case $1 in
    --library) library=$2; shift 2 ;;
    --build) build=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    *) echo "build_wheel.sh: unknown argument $1" >&2; exit 2 ;;
  esac
done
python=${PYTHON:-}
for candidate in python3 /usr/bin/python3; do
  [ -n "$python" ] && break
  "$candidate" -c 'import setuptools, wheel, pip' 2>/dev/null && python=$candidate
done
[ -n "$python" ] || { echo "build_wheel.sh: no Python with pip, setuptools and wheel" >&2; exit 1; }
if [ -z "$library" ]; then
  [ -f "$build/CMakeCache.txt" ] || cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DSKERRY_TESTS=OFF
  cmake --build "$build" --target skerry
  library=$(find "$build" -name 'libskerry.so' | head -n 1)
fi
[ -f "$library" ] || { echo "build_wheel.sh: no library at '$library'" >&2; exit 1; }
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir "$staging/skerry"
cp "$here/pyproject.toml" "$here/setup.py" "$here/README.md" "$staging/"
cp "$here"/skerry/*.py "$here/skerry/py.typed" "$staging/skerry/"
cp -L "$library" "$staging/skerry/libskerry.so"
strip --strip-unneeded "$staging/skerry/libskerry.so" 2>/dev/null || true
mkdir -p "$out"
SKERRY_HEADER=$root/include/skerry/skerry.h \
  "$python" -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --no-index \
  --wheel-dir "$out" "$staging"
ls "$out"/skerry-*.whl
