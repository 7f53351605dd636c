#!/usr/bin/env bash
# Builds Sluice and runs every test that needs no GPU: all layers as released, the layers without torch under the address
# and undefined-behaviour sanitizers, those of them with threads under the thread sanitizer. Passing tests are not printed;
# the last line is `N passed, N failed`. Exit code 1 on any failure, of a build too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-2} NO_COLOR=1

presets=(release asan tsan)
if [ $# -gt 0 ]; then presets=("$@"); fi
for preset in "${presets[@]}"; do
  case $preset in
    release | dev | asan | tsan) ;;
    *) echo "usage: tools/test.sh [release|dev|asan|tsan ...]; got $preset" >&2; exit 2 ;;
  esac
done

passed=0 failed=0 broken=()

# The wrapper a preset's programs run under. The thread sanitizer of GCC 12 cannot place its shadow memory where the kernel
# randomises addresses by more than 28 bits, and discovering tests runs them while building.
without_random_addresses() {
  if setarch -R true 2>/dev/null; then setarch -R "$@"; else "$@"; fi
}

build() {
  local wrap=env log=build/$1.log
  [ "$1" = tsan ] && wrap=without_random_addresses
  mkdir -p build
  echo "== $1: build"
  if ! { cmake --preset "$1" && $wrap cmake --build --preset "$1"; } >"$log" 2>&1; then
    grep -E -A 12 'error|FAILED|Error' "$log" | head -n 60 || tail -n 30 "$log"
    echo "== $1: build failed, see $log"
    return 1
  fi
}

fetch_model() {
  [ -n "${SLUICE_MODEL_GGUF:-}" ] && return
  if SLUICE_MODEL_GGUF=$PWD/$(tools/fetch_model.sh); then
    export SLUICE_MODEL_GGUF
  else
    unset SLUICE_MODEL_GGUF
    echo "== no SmolLM2-135M: the tests with its weights are skipped"
  fi
}

run_tests() {
  local wrap=env log=build/$1-tests.log results=build/$1/test-results total failures
  [ "$1" = tsan ] && wrap=without_random_addresses
  echo "== $1: tests"
  rm -rf "$results"
  $wrap ctest --preset "$1" --label-exclude "gpu|slow" 2>&1 | tee "$log" |
    awk '/^ *Start +[0-9]+:/ || / Passed +[0-9.]+ sec$/ { next } { print; fflush() }' || true
  read -r failures total < <(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\)$/\1 \2/p' "$log") ||
    { echo "== $1: the tests did not run"; return 1; }
  count_tests "$results" "$total" "$failures"
}

# An entry of ctest is a suite of tests, which are counted from its result file; one without a file (it crashed, or is no
# program of ours) counts as one test.
count_tests() {
  local tests not_run bad files bad_files
  read -r tests not_run bad files bad_files < <(
    cat "$1"/*.xml 2>/dev/null | awk '
      function number(key) { return match($0, key "=\"[0-9]+") ? substr($0, RSTART + length(key) + 2) + 0 : 0 }
      /<testsuites / { tests += number("tests"); bad += number("failures"); files++; bad_files += number("failures") > 0 }
      /<testsuite / { not_run += number("skipped") + number("disabled") }
      END { print tests + 0, not_run + 0, bad + 0, files + 0, bad_files + 0 }')
  local broken_entries=$(($3 - bad_files))
  failed=$((failed + bad + broken_entries))
  passed=$((passed + tests - not_run - bad + $2 - files - broken_entries))
}

SECONDS=0
tools/setup.sh
fetch_model
for preset in "${presets[@]}"; do
  { build "$preset" && run_tests "$preset"; } || broken+=("$preset")
done

printf '== %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60))
for preset in "${broken[@]}"; do echo "== $preset did not build or run"; done
failed=$((failed + ${#broken[@]}))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
