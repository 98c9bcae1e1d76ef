#!/usr/bin/env bash
# Runs all tests but the soaks. Those with real processes wait for most of their time, so the unit tests run beside them,
# at the lowest priority; last, with nothing beside them, come those that load the machine themselves (marked "alone").
# Arguments: the folders of unit tests that `make coverage` measures; it runs those of them that are not random.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
said=$(mktemp)
trap 'rm -f "$said"' EXIT

unit_tests() {
  make --no-print-directory coverage &&
    pytest -q -m "(hypothesis or slow) and not soak" "$@" &&
    pytest -q -m "not soak" "${@/#/--ignore=}" tests/unit
}

nice -n 19 bash -c "$(declare -f unit_tests); unit_tests $*" >"$said" 2>&1 &
unit=$!
pytest -m "not soak and not alone" tests/conformance tests/integration tests/e2e
real=$?
wait "$unit"
unit=$?
cat "$said"
pytest -m "alone and not soak" tests/conformance tests/integration tests/e2e
alone=$?
echo "unit tests: $unit, with real processes: $real, alone: $alone (0: all passed)"
[ "$unit" = 0 ] && [ "$real" = 0 ] && [ "$alone" = 0 ]
