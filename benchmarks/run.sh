#!/usr/bin/env bash
# Builds and runs the benchmarks; tables to the terminal, JSON to build-bench/results/.
#   benchmarks/run.sh [NAME ...], of: read disk_cache metadata directory stream frames s3 fuse
#   hot_directory
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
for name in "${@:-read disk_cache metadata directory stream frames s3 fuse hot_directory}"; do
  for one in $name; do
    if [ "$one" = fuse ]; then
      command -v fio >/dev/null || apt-get install -y -qq fio >/dev/null
      python3 benchmarks/fuse_bench.py --build build-bench --json=build-bench/results/fuse.json
    elif [ "$one" = hot_directory ]; then
      python3 benchmarks/hot_directory_bench.py --build build-bench \
        --json=build-bench/results/hot_directory.json
    elif [ "$one" = s3 ]; then
      server=$(mktemp -d /dev/shm/skerry-s3-XXXXXX)
      tests/support/s3.sh "$server" $$
      build-bench/benchmarks/s3_bench "--server=$server" --json=build-bench/results/s3.json
      tests/support/s3.sh --stop "$server"
    else
      "build-bench/benchmarks/${one}_bench" "--json=build-bench/results/$one.json"
    fi
  done
done
