#!/usr/bin/env bash
# Formatting and layering: fails on drift, says how to mend it.
#   tests/lint.sh --tidy    clang-tidy as well, over what build/ has compiled (half an hour)
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- 'lib/*.cc' 'lib/*.h' \
  'include/*.h' 'include/*.hpp' 'bindings/*.cc' 'bindings/*.h' 'tests/*.cc' 'tests/*.h' \
  'benchmarks/*.cc' 'benchmarks/*.h')
if ! clang-format-14 --dry-run -Werror "${sources[@]}" >/tmp/skerry-format.$$ 2>&1; then
  grep -o '^[^:]*' /tmp/skerry-format.$$ | sort -u | grep -E '^(lib|include|bindings|tests|bench)' |
    sed 's/^/not formatted: /' | head -20
  echo "mend with: clang-format-14 -i FILE"
  status=1
fi
rm -f /tmp/skerry-format.$$

# A layer includes only itself and the layers below it (base <- io <- {object, meta} <- data <- vfs
# <- capi).
declare -A allowed=([base]="base" [io]="io|base" [object]="object|io|base" [meta]="meta|io|base"
  [data]="data|object|meta|io|base" [vfs]="vfs|data|object|meta|io|base"
  [capi]="capi|vfs|data|object|meta|io|base|skerry")
for layer in "${!allowed[@]}"; do
  if bad=$(grep -rnE '#include "' "lib/$layer" |
    grep -vE "#include \"(${allowed[$layer]})/" ); then
    printf 'lib/%s includes what lies above or beside it:\n%s\n' "$layer" "$bad"
    status=1
  fi
done
# Bindings use the C ABI alone.
if bad=$(grep -rnE '#include "(base|io|object|meta|data|vfs|capi)/' bindings); then
  printf 'a binding includes internals:\n%s\n' "$bad"
  status=1
fi
# Only the factory names concrete stores.
if bad=$(grep -rnE '#include "(meta/stores|object/(local|memory))/' lib |
  grep -vE '^lib/(meta/stores|object/(local|memory)|capi/factory\.cc)'); then
  printf 'a concrete store is named outside lib/capi/factory.cc:\n%s\n' "$bad"
  status=1
fi
if [ "${1:-}" = --tidy ]; then
  mapfile -t units < <(git ls-files 'lib/*.cc' 'bindings/*.cc')
  found=$(printf '%s\n' "${units[@]}" |
    xargs -P "$(nproc)" -n 4 clang-tidy -p build --quiet 2>/dev/null | grep -A3 'warning:' || true)
  if [ -n "$found" ]; then
    printf '%s\n' "$found"
    status=1
  fi
fi

[ $status -ne 0 ] || echo "lint: 1 passed, 0 failed"
exit $status
