#!/usr/bin/env bash
# Builds Skerry and runs its tests. As root on Debian 12 it installs what it needs.
#   tests/run.sh         everything but the sanitizers and fuzzers, which are parts of their own
#   tests/run.sh unit    the fast inner loop: unit and conformance tests only
#   tests/run.sh asan | tsan | fuzz | model | capi | python | cli | fuse | lint
#                        one part
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
jobs=$(nproc)
start=$SECONDS
failed=()

case "$part" in
  all | unit | asan | tsan | fuzz | model | capi | python | cli | fuse | lint) ;;
  *) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac

step() { printf '== %s (%ds)\n' "$1" $((SECONDS - start)); }

build() { # build <directory> <cmake arguments...>
  local dir=$1; shift
  local launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  local log=$dir.log
  if ! { cmake -G Ninja -S . -B "$dir" "${launcher[@]}" "$@" && ninja -C "$dir" -j "$jobs"; } \
      >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "tests/run.sh: the build in $dir failed; its log is $log" >&2
    exit 1
  fi
}

check() { # check <name> <command...>: runs it, remembers a failure, goes on
  step "$1"; local name=$1; shift
  "$@" || failed+=("$name")
}

ctest_in() { # ctest_in <directory> <label regex>
  ctest --test-dir "$1" --output-on-failure --no-tests=error -j "$jobs" -L "$2" \
    --progress | tail -n 25
  return "${PIPESTATUS[0]}"
}

tests/install.sh test

case "$part" in
  all | unit | model | capi | python | cli | fuse)
    step "build"
    build build -DSKERRY_WERROR=ON -DSKERRY_BENCHMARKS=ON ;;
esac

wants() { [ "$part" = all ] || [ "$part" = "$1" ]; }

if wants lint; then check "lint" tests/lint.sh; fi
if wants unit; then check "unit and conformance" ctest_in build '^(unit|conformance)$'; fi
if [ "$part" = all ]; then check "faults" ctest_in build '^fault$'; fi
if wants model; then check "simulator" ctest_in build '^model$'; fi
if wants capi; then check "C ABI" ctest_in build '^capi$'; fi
if wants cli; then check "command line" python3 -m pytest -q -p no:cacheprovider tests/cli; fi
if wants fuse; then check "FUSE mount" python3 -m pytest -q -p no:cacheprovider tests/fuse; fi
if wants python; then check "Python" python3 -m pytest -q -p no:cacheprovider tests/python; fi

if [ "$part" = asan ]; then
  step "build with ASan and UBSan"
  build build-asan -DSKERRY_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g1 -fno-sanitize-recover=undefined'
  check "ASan and UBSan" ctest_in build-asan '^(unit|conformance|model|capi|fault)$'
fi
if [ "$part" = tsan ]; then
  step "build with TSan"
  build build-tsan -DSKERRY_SANITIZE=thread -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g1'
  check "TSan" ctest_in build-tsan '^(unit|conformance|capi)$'
fi
if [ "$part" = fuzz ]; then
  step "build the fuzzers"
  build build-fuzz -DSKERRY_FUZZERS=ON -DSKERRY_TESTS=ON -DSKERRY_SANITIZE=address,undefined \
    -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g1'
  check "fuzzers" ctest_in build-fuzz '^fuzz$'
fi

printf '== done in %ds\n' $((SECONDS - start))
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "all passed"
