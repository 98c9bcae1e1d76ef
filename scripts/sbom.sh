#!/usr/bin/env bash
# Bills of materials (CycloneDX 1.6, JSON) of what users get: Overbook, and each runtime with each of its extras.
# Made of the lock files alone, so the same in every run. Argument: the folder of cyclonedx-py.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:?the folder of cyclonedx-py}
out=build/sbom
rm -rf "$out"
mkdir -p "$out"

# bill NAME LOCK [OPTIONS]
bill() {
  # It would warn that a lock file does not say who needs whom.
  PYTHONWARNINGS=ignore "$bin/cyclonedx-py" requirements "$2" --output-reproducible --validate \
    -o "$out/$1.cdx.json" "${@:3}"
}

bill overbook requirements.lock --pyproject pyproject.toml
for lock in src/overbook/runtimes/*/requirements.lock src/overbook/runtimes/*/extras/*.lock; do
  runtime=${lock#src/overbook/runtimes/}
  runtime=${runtime%%/*}
  extra=$(basename "$lock" .lock)
  if [ "$extra" = requirements ]; then name=$runtime; else name=$runtime-$extra; fi
  bill "$name" "$lock"
done
echo "sbom: $(ls "$out" | wc -l) bills of materials in $out"
