#!/usr/bin/env bash
# Runs all tests but the long ones: unit tests, which need no more than a processor, beside those with real processes,
# to which they give way. Arguments go to both runs of pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
told=$(mktemp)
trap 'rm -f "$told"' EXIT
nice -n 10 .venv/bin/pytest -m "not soak" -p no:cacheprovider "$@" tests/unit >"$told" 2>&1 &
units=$!
trap 'kill $units 2>/dev/null; rm -f "$told"' INT TERM
.venv/bin/pytest -m "not soak" "$@" tests/integration tests/conformance tests/e2e
rest=$?
echo "unit tests, which ran beside these:"
wait $units
alone=$?
cat "$told"
exit $((rest || alone))
