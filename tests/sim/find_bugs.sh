#!/usr/bin/env bash
# usage: tests/sim/find_bugs.sh [BUG...]
#
# Plants each bug of tests/sim/bugs (or those named) into a copy of the tree, builds the simulator there and shows
# which seed finds it, within RETORT_SIM_SEEDS seeds (default 3000). Exit status 1 when one is not found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
readonly SEEDS=${RETORT_SIM_SEEDS:-3000}
unset RETORT_SIM_SEED RETORT_SIM_FIRST_SEED

mapfile -t bugs < <(if (($# > 0)); then printf '%s\n' "$@"; else basename --suffix=.patch tests/sim/bugs/*.patch; fi)
copy=$(mktemp --directory)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory="$copy"

# -O1: compiling takes longer than looking.
cmake -S "$copy" -B "$copy/build" -G Ninja -DCMAKE_CXX_FLAGS="-O1 -DNDEBUG" --log-level=WARNING >/dev/null
build() { cmake --build "$copy/build" --target sim_test >"$copy/build.log" 2>&1 || { cat "$copy/build.log"; return 1; }; }
build

missed=0
for bug in "${bugs[@]}"; do
  patch --quiet --strip=1 --directory="$copy" <"tests/sim/bugs/$bug.patch"
  build
  start=$SECONDS
  if RETORT_SIM_SEEDS=$SEEDS "$copy/build/tests/sim_test" --gtest_filter='*EveryHistory' >"$copy/out" 2>&1; then
    echo "NOT FOUND  $bug: $SEEDS seeds, $((SECONDS - start)) s"
    missed=1
  else
    seed=$(sed --quiet 's/^replay it: RETORT_SIM_SEED=\([0-9]*\).*/\1/p' "$copy/out" | head -n 1)
    what=$(grep --after-context=1 --max-count=1 '^Failed$' "$copy/out" | tail -n 1 || true)
    [[ -n $what ]] || what=$(grep --max-count=1 'check failed' "$copy/out" || tail -n 1 "$copy/out")
    echo "found      $bug: seed $seed, $((SECONDS - start)) s: ${what:0:160}"
  fi
  patch --quiet --strip=1 --reverse --directory="$copy" <"tests/sim/bugs/$bug.patch"
done
exit "$missed"
