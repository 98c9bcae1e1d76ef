#!/usr/bin/env bash
# Installs the Debian packages named, those of them that are missing. For benchmarks and tests only.
set -euo pipefail
if ! command -v dpkg >/dev/null; then
  echo "not a Debian system: make sure these are installed: $*" >&2
  exit 0
fi
missing=()
for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
