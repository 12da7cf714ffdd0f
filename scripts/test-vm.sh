#!/usr/bin/env bash
# Runs a chosen subset of tests/it on cgroup v2 and Debian 12's own kernel, in a virtual machine: as root, and as an
# ordinary user in a delegated scope. The machine is emulated in software, so this takes a while and is no part of CI.
#
# Usage: scripts/test-vm.sh [root|user] [PYTEST ARGUMENT...]
#
#   DEBIAN_VM         the program that runs a command in a machine: DEBIAN_VM [--user] --share DIR --timeout SECONDS -- COMMAND
#                     (default: ../shared/tools/debian-vm.sh beside this repository). It shows DIR as /share and starts
#                     there; with --user COMMAND runs in a login session of an ordinary user who has a systemd of their own
#   DAYFLY_BIN        the binary to test (default: a release build of this tree)
#   DAYFLY_TEST_SLOW  how many times longer everything may take (default 8)
#   TEST_VM_SECONDS   when one machine is given up (default 1800)
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'test-vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

who=(root user)
case ${1:-} in
  root | user) who=("$1"); shift ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit ;;
esac

vm=${DEBIAN_VM:-../shared/tools/debian-vm.sh}
[ -x "$vm" ] || die "no program to run a virtual machine at $vm: set DEBIAN_VM to one (see --help for what it must do)," \
  "or run 'make it' on a machine with cgroup v2, as root and with 'systemd-run --user --scope -p Delegate=yes make it'"

target=${CARGO_TARGET_DIR:-target}
if [ -z "${DAYFLY_BIN:-}" ]; then
  cargo build --release --locked -p dayfly
  DAYFLY_BIN=$target/release/dayfly
fi
[ -x "$DAYFLY_BIN" ] || die "DAYFLY_BIN is no program: $DAYFLY_BIN"

# What the machine sees, read-only. Its Python is Debian's, 3.11, whatever ours is.
share=$target/test-vm
mkdir -p "$share"
site=$share/site
if ! cmp -s requirements.txt "$site/requirements.txt"; then
  say "gathering Python packages"
  rm -rf "$site"
  # Its tests need no AWS command line.
  grep -viE '^(awscli|colorama|docutils|pyasn1|rsa|PyYAML)==' requirements.txt >"$share/requirements.txt"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$site" --python-version 3.11 \
    --only-binary=:all: -r "$share/requirements.txt" </dev/null
  cp requirements.txt "$site/"
fi
rm -rf "$share/tests"
cp -r tests pytest.ini "$share/"
strip -o "$share/dayfly" "$DAYFLY_BIN" 2>/dev/null || install "$DAYFLY_BIN" "$share/dayfly"

# Run in the machine: run.sh SLOW PYTEST-ARGUMENT...
cat >"$share/run.sh" <<'EOF'
set -euo pipefail
export DAYFLY_BIN=/share/dayfly DAYFLY_TEST_SLOW=$1 PYTHONPATH=/share/site PYTHONDONTWRITEBYTECODE=1
shift
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || { echo "this machine has no cgroup v2" >&2; exit 1; }
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
if [ "${1:-}" != --in-scope ]; then
  # systemd may take this command for a service that has not started yet, and end it after 90 s.
  "${root[@]}" mkdir -p /run/systemd/system.conf.d
  printf '[Manager]\nDefaultTimeoutStartSec=infinity\n' | "${root[@]}" tee /run/systemd/system.conf.d/test-vm.conf >/dev/null
  "${root[@]}" systemctl daemon-reload
fi
if [ "$(id -u)" != 0 ] && [ "${1:-}" != --in-scope ]; then
  # Without a scope of its own a server cannot set limits, and the doctor must say so, and what to do.
  if said=$("$DAYFLY_BIN" doctor 2>&1) || ! grep -q 'systemd-run --user --scope -p Delegate=yes' <<<"$said"; then
    printf 'outside of a scope the doctor said:\n%s\n' "$said" >&2
    exit 1
  fi
  exec systemd-run --quiet --user --scope -p Delegate=yes bash "$0" "$DAYFLY_TEST_SLOW" --in-scope "$@"
fi
[ "${1:-}" != --in-scope ] || shift
echo "Linux $(uname -r), cgroup v2, $(id -un): $(cat /proc/self/cgroup)"
"$DAYFLY_BIN" doctor
cd /share
python3 -m pytest -p no:cacheprovider --basetemp=/tmp/pytest --tb=short -q --durations=5 "$@"
EOF
chmod -R a+rX "$share"

# Calls are ten times slower here, so what makes a thousand of them is left to `make it`.
tests=(
  tests/it/test_containment.py tests/it/test_limits.py tests/it/test_freshness.py tests/it/test_leftovers.py
  -k "not no_random_value and not many_calls_at_once"
)
[ $# -eq 0 ] || tests=("$@")

results=() failed=0
for one in "${who[@]}"; do
  if [ "$one" = root ]; then name="root" option=(); else name="an ordinary user" option=(--user); fi
  say "as $name"
  log=$share/$one.log status=0
  "$vm" "${option[@]}" --share "$share" --timeout "${TEST_VM_SECONDS:-1800}" -- \
    bash run.sh "${DAYFLY_TEST_SLOW:-8}" "${tests[@]}" 2>&1 | tee "$log" || status=$?
  [ "$status" = 0 ] || failed=1
  results+=("as $name: $(grep -oE '[0-9]+ (failed|passed|error).* in [0-9.]+s' "$log" | tail -n 1 || true) (exit $status)")
done
printf 'test-vm: cgroup v2, %s\n' "${results[@]}"
exit $failed
