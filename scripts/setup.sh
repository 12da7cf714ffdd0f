#!/usr/bin/env bash
# Installs what the Makefile's targets need and this machine lacks: a linker, Python's venv, and the packages of
# requirements.txt in .venv. Does nothing, quickly, when all of it is there.
# Usage: scripts/setup.sh [test]      test: also Debian's AWS CLI (version 2), for `aws logs tail`, Node, Chromium, and pip
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v cargo >/dev/null || die "cargo is missing: install Rust 1.92 or newer (rustup.rs)"

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v python3 >/dev/null || missing+=(python3)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# A server that builds environments gets uv with it, where there is no uv.
if [ "${1:-}" = test ] && ! command -v uv >/dev/null; then python3 -c 'import pip' 2>/dev/null || missing+=(python3-pip); fi
wanted=()
if [ "${1:-}" = test ] && [ "$(id -u)" = 0 ]; then
  [ -x /usr/bin/aws ] || wanted+=(awscli)
  command -v node >/dev/null || wanted+=(nodejs)
  command -v chromedriver >/dev/null || wanted+=(chromium chromium-driver)
fi

if [ ${#missing[@]} -gt 0 ] || [ ${#wanted[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    [ ${#missing[@]} -eq 0 ] || die "missing: ${missing[*]} (these are Debian's names; install them)"
  elif [ "$(id -u)" != 0 ]; then
    [ ${#missing[@]} -eq 0 ] || die "missing: run 'sudo apt-get install ${missing[*]}'"
  else
    export DEBIAN_FRONTEND=noninteractive
    say "installing ${missing[*]} ${wanted[*]}"
    apt-get update -q >&2 </dev/null
    if [ ${#missing[@]} -gt 0 ]; then
      apt-get install -yq --no-install-recommends "${missing[@]}" >&2 </dev/null
    fi
    # Only one test needs each, and says so when it is not there.
    for one in "${wanted[@]}"; do
      apt-get install -yq --no-install-recommends "$one" >&2 </dev/null || say "no $one: its test is skipped"
    done
  fi
fi

# The stamp says which requirements .venv holds.
stamp=.venv/requirements.txt
if ! cmp -s requirements.txt "$stamp" || ! .venv/bin/python -c '' 2>/dev/null; then
  say "making .venv"
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt </dev/null
  cp requirements.txt "$stamp"
fi
