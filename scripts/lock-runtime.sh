#!/bin/bash
# Lock files of one runtime and its extras: scripts/lock-runtime.sh src/overbook/runtimes/NAME
#
# The extras are resolved together on top of the runtime's own pins, so that any choice of them fits into one
# environment; each lock then holds what its extra adds. extras/excludes.txt names packages that nobody shall get.
# With a file no-deps.txt, which says why, the runtime gets what requirements.in names and nothing else.
set -euo pipefail
cd "$1"
uv=${UV:?the uv program}
compile() {
  "$uv" pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 "$@"
}

base=(requirements.in)
own=()
if [ -f no-deps.txt ]; then
  base=()
  own=(--no-deps)
fi
compile --generate-hashes "${own[@]}" requirements.in -o requirements.lock
[ -d extras ] || exit 0
joint=$(mktemp)
trap 'rm -f "$joint"' EXIT
options=(-c requirements.lock)
if [ -f extras/excludes.txt ]; then options+=(--excludes extras/excludes.txt); fi
compile "${options[@]}" "${base[@]}" extras/*.in > "$joint"
while IFS= read -r package; do
  options+=(--no-emit-package "$package")
done < <(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' requirements.lock | sort -u)
for extra in extras/*.in; do
  compile --generate-hashes "${options[@]}" -c "$joint" "$extra" -o "${extra%.in}.lock"
done
