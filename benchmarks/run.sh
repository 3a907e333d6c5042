#!/usr/bin/env bash
# Builds and runs the benchmarks; tables to the terminal, JSON to build-bench/results/.
#   benchmarks/run.sh [read|metadata|directory|stream ...]
set -euo pipefail
cd "$(dirname "$0")/.."
tests/install.sh build
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
if ! { cmake -G Ninja -S . -B build-bench "${launcher[@]}" -DSKERRY_TESTS=OFF \
         -DSKERRY_BENCHMARKS=ON && ninja -C build-bench; } >build-bench.log 2>&1; then
  tail -n 40 build-bench.log
  exit 1
fi
mkdir -p build-bench/results
for name in "${@:-read metadata directory stream}"; do
  for one in $name; do
    "build-bench/benchmarks/${one}_bench" "--json=build-bench/results/$one.json"
  done
done
