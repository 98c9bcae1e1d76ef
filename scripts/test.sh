#!/usr/bin/env bash
# Runs all tests but the soaks. Those with real processes wait for most of their time, so they run in three rows side by
# side, and the unit tests beside them at the lowest priority; last, with nothing beside them, come those that load the
# machine themselves (marked "alone"). Each line says which row it is of.
# Arguments: the folders of unit tests that `make coverage` measures; it runs those of them that are not random.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

# Of those end to end, these run in the row that has less to do.
beside=(tests/e2e/differential tests/e2e/test_{from_seldon,hugging_face,model_metrics,names,sending_data,triton,triton_clients,triton_faults}.py)

# And these, which fetch from real stores and wait for them, have a row of their own.
elsewhere=(tests/integration/test_{sources,web}_*.py)
elsewhere+=(tests/e2e/test_{bad_sources,denied_pickles,disk_budget,fetched_once,models_from_anywhere}.py)

unit_tests() {
  make --no-print-directory coverage &&
    pytest -q -m "(hypothesis or slow) and not soak" "$@" &&
    pytest -q -m "not soak" "${@/#/--ignore=}" tests/unit &&
    make --no-print-directory lowest
}

# Shows what a command says, line by line with the name of its row, and keeps it; the status is the command's.
row() {
  local name=$1 said showing status
  shift
  # No pipe: it would be waited for until everybody closed it whom a test left behind.
  exec {said}> >(sed -u "s/^/$name | /" | tee "build/rows/$name")
  showing=$!
  "$@" >&"$said" 2>&1 {said}>&-
  status=$?
  exec {said}>&-
  # So what was said last is waited for, but not for long.
  timeout 5 tail --pid="$showing" -f /dev/null
  return $status
}

rm -rf build/rows
mkdir -p build/rows

row inner pytest -m "not soak and not alone" tests/conformance tests/integration \
  "${elsewhere[@]/#/--ignore=}" "${beside[@]}" &
inner=$!
row elsewhere pytest -m "not soak and not alone" "${elsewhere[@]}" &
elsewhere_row=$!
row unit nice -n 19 bash -c "set -o pipefail; $(declare -f unit_tests); unit_tests $*" &
unit=$!
row e2e pytest -m "not soak and not alone" tests/e2e "${beside[@]/#/--ignore=}" "${elsewhere[@]/#/--ignore=}"
outer=$?
wait "$unit"
unit=$?
wait "$inner"
inner=$?
wait "$elsewhere_row"
elsewhere_row=$?
row alone pytest -m "alone and not soak" tests/conformance tests/integration tests/e2e
alone=$?
# What failed is said once more where whoever looks at the end sees it: the rows are thousands of lines.
grep -hE "^[a-z0-9]+ \| (FAILED|ERROR|make: \*\*\*|Coverage failure|=+ .* in [0-9.]+s)" build/rows/* | cut -c 1-300
echo "unit: $unit, conformance and integration: $inner, from elsewhere: $elsewhere_row, end to end: $outer," \
  "alone: $alone (0: all passed)"
[ "$unit" = 0 ] && [ "$inner" = 0 ] && [ "$elsewhere_row" = 0 ] && [ "$outer" = 0 ] && [ "$alone" = 0 ]
