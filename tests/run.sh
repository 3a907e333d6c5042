#!/usr/bin/env bash
# Builds Skerry and runs its tests. As root on Debian 12 it installs what it needs.
#   tests/run.sh         everything: the tests as users build it, then under ASan and UBSan with the
#                        fuzzers, then under TSan
#   tests/run.sh fast    everything but the sanitizers
#   tests/run.sh unit    the fast inner loop: unit and conformance tests only
#   tests/run.sh asan | tsan | model | fault | capi | python | cli | fuse | lint    one part
#   tests/run.sh postgres    one part: the Python module and the mount, on volumes in PostgreSQL
#   tests/run.sh s3          one part: networks to S3 that fail, and the Python module and the mount
#                        on volumes whose data is there
#   tests/run.sh history | network | failover    one part, of those with PostgreSQL servers that fail
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
jobs=$(nproc)
start=$SECONDS
failed=()

case "$part" in
  all | fast | unit | asan | tsan | model | fault | capi | python | cli | fuse | lint | \
    postgres | s3 | history | network | failover) ;;
  *) sed -n '2,12p' "$0" >&2; exit 2 ;;
esac

step() { printf '== %s (%ds)\n' "$1" $((SECONDS - start)); }

export CCACHE_SLOPPINESS=pch_defines,time_macros  # or ccache refuses what has precompiled headers

build() { # build <directory> <target> <cmake arguments...>
  local dir=$1 target=$2; shift 2
  local launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  local log=$dir.log
  if ! { cmake -G Ninja -S . -B "$dir" "${launcher[@]}" "$@" && ninja -C "$dir" -j "$jobs" "$target"; } \
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

ctest_in() { # ctest_in <directory> <label regex>: the summary, and all that a failed test said
  local log=$1-tests.log
  if ctest --test-dir "$1" --output-on-failure --no-tests=error -j "$jobs" -L "$2" >"$log" 2>&1; then
    sed -n '/tests passed/,$p' "$log"
  else
    grep -v '   Passed  ' "$log" | tail -n 400
    return 1
  fi
}

tests/install.sh test

case "$part" in
  all | fast | unit | model | fault | capi | python | cli | fuse | postgres | s3 | history | network | \
    failover)
    step "build"
    build build all -DSKERRY_WERROR=ON -DSKERRY_BENCHMARKS=ON ;;
esac

wants() { [ "$part" = all ] || [ "$part" = fast ] || [ "$part" = "$1" ]; }
wants_sanitizer() { [ "$part" = all ] || [ "$part" = "$1" ]; }

if wants lint; then check "lint" tests/lint.sh; fi
if wants unit; then check "unit and conformance" ctest_in build '^(unit|conformance)$'; fi
if wants fault; then check "faults" ctest_in build '^fault$'; fi
if wants model; then check "simulator" ctest_in build '^model$'; fi
if wants capi; then check "C ABI" ctest_in build '^capi$'; fi
if wants cli; then check "command line" python3 -m pytest -q -p no:cacheprovider tests/cli; fi
if wants fuse; then check "FUSE mount" python3 -m pytest -q -p no:cacheprovider tests/fuse; fi
if wants python; then check "Python" python3 -m pytest -q -p no:cacheprovider tests/python; fi

with_server() { # with_server <postgres|s3> <command...>: which finds a server of its own
  local kind=$1 folder
  shift
  folder=$(mktemp -d "/tmp/skerry-$kind-XXXXXX")
  "tests/support/$kind.sh" "$folder" $$ || return 1
  local status=0
  env "SKERRY_TEST_${kind^^}=$folder" "$@" || status=$?
  "tests/support/$kind.sh" --stop "$folder"
  return "$status"
}
on_postgres() { with_server postgres python3 -m pytest -q -p no:cacheprovider "$@"; }
if wants postgres; then
  check "Python, on PostgreSQL" on_postgres tests/python --deselect \
    tests/python/test_processes.py::test_wheel_in_a_fresh_environment
  check "FUSE mount, on PostgreSQL" on_postgres \
    tests/fuse/test_{locks,two_mounts,files,nameless_files,permissions}.py
fi

on_s3() { with_server s3 python3 -m pytest -q -p no:cacheprovider "$@"; }
on_postgres_and_s3() { # the metadata there, the data here
  local folder
  folder=$(mktemp -d /tmp/skerry-postgres-XXXXXX)
  tests/support/postgres.sh "$folder" $$ || return 1
  local status=0
  SKERRY_TEST_POSTGRES=$folder on_s3 "$@" || status=$?
  tests/support/postgres.sh --stop "$folder"
  return "$status"
}
if wants s3; then
  check "failing networks to S3" python3 -m pytest -q -p no:cacheprovider tests/s3
  check "Python, on SQLite and S3" on_s3 tests/python/test_files.py -k "not random or text"
  check "FUSE mount, on SQLite and S3" on_s3 tests/fuse/test_files.py
  check "FUSE mount, on PostgreSQL and S3" on_postgres_and_s3 tests/fuse/test_two_mounts.py
fi

with_servers() { # with_servers <names of tests/postgres/test_*.py...>
  python3 -m pytest -q -p no:cacheprovider "${@/#/tests/postgres/test_}"
}
if wants history; then check "histories" with_servers history.py; fi
if wants network; then check "failing networks" with_servers network.py bad_input.py; fi
if wants failover; then check "failover" with_servers failover.py; fi

clang=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang)
if wants_sanitizer asan; then
  step "build with ASan and UBSan, and the fuzzers"
  build build-asan skerry_sanitized -DSKERRY_SANITIZE=address,undefined -DSKERRY_FUZZERS=ON "${clang[@]}" \
    -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g1 -fno-sanitize-recover=undefined'
  check "ASan and UBSan" ctest_in build-asan '^(unit|conformance|fault|model|capi|fuzz)$'
fi
if wants_sanitizer tsan; then
  step "build with TSan"
  build build-tsan skerry_sanitized -DSKERRY_SANITIZE=thread "${clang[@]}" -DCMAKE_CXX_FLAGS_DEBUG='-O1 -g1'
  check "TSan" ctest_in build-tsan '^(unit|conformance|capi)$'
fi

printf '== done in %ds\n' $((SECONDS - start))
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "all passed"
