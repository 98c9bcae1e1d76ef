#!/usr/bin/env bash
# Generates the Python code of src/overbook/wire/*.proto; with --check fails when it is stale.
set -euo pipefail
cd "$(dirname "$0")/.."
out=src
if [ "${1:-}" = --check ]; then out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; fi
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m grpc_tools.protoc -I src \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
  src/overbook/wire/common.proto src/overbook/wire/scheduler.proto src/overbook/wire/agent.proto src/overbook/wire/oip.proto
find "$out/overbook/wire" -name '*_pb2_grpc.py*' | while read -r f; do
  grep -q 'class .*Servicer' "$f" || rm "$f"   # files without a service carry nothing
done
if [ "$out" != src ]; then
  for f in "$out"/overbook/wire/*; do
    cmp -s "$f" "src/overbook/wire/$(basename "$f")" || { echo "stale: src/overbook/wire/$(basename "$f") (run: make proto)" >&2; exit 1; }
  done
fi
