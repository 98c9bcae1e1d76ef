#!/usr/bin/env bash
# Brings PyPA's database of known vulnerabilities to build/advisories, where scripts/vulnerabilities.py looks for it.
# Where git or the network are missing it says so, and what was there stays.
set -euo pipefail
cd "$(dirname "$0")/.."
from=${OVERBOOK_ADVISORIES_FROM:-https://github.com/pypa/advisory-database}
mkdir -p build
new=$(mktemp -d build/advisories.XXXXXX)
trap 'rm -rf "$new"' EXIT
if ! GIT_TERMINAL_PROMPT=0 timeout 300 git clone --quiet --depth 1 "$from" "$new/clone"; then
  echo "advisories: $from could not be cloned; put records of OSV into build/advisories, or name their place in" \
    "OVERBOOK_ADVISORIES (CONTRIBUTING.md)" >&2
  exit 1
fi
rm -rf build/advisories
mv "$new/clone" build/advisories
echo "advisories: $(git -C build/advisories log -1 --format=%cs) in build/advisories"
