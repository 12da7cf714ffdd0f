"""Everything that the benchmarks run: built and installed here, before anything is measured."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
BINARY = pathlib.Path(os.environ.get("DAYFLY_BIN") or TARGET / "release" / "dayfly").resolve()
VENV = pathlib.Path(os.environ.get("DAYFLY_BENCH_VENV") or ROOT / ".venv-bench").resolve()
PYTHON = VENV / "bin" / "python"
LOAD = TARGET / "release" / "load"
FLOOR = TARGET / "release" / "examples" / "floor"
STORE = TARGET / "release" / "examples" / "enqueue_bench"

# The tests' way to start a server is ours too; it looks for the binary when it is imported.
os.environ["DAYFLY_BIN"] = str(BINARY)
sys.path.insert(0, str(ROOT / "tests"))


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def build():
    """The load generator, the floor, and the store's own benchmark."""
    if not BINARY.exists():
        raise SystemExit(f"bench: {BINARY} is missing: run `make bench`, or set DAYFLY_BIN")
    say("building the load generator and the floor")
    cargo = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(TARGET)]
    subprocess.run([*cargo, "--manifest-path", HERE / "load" / "Cargo.toml"], check=True)
    for package, example in [("dayfly-worker", "floor"), ("dayfly-store", "enqueue_bench")]:
        subprocess.run([*cargo, "-p", package, "--example", example], check=True, cwd=ROOT)


def install(interpreter):
    """Makes .venv-bench with `interpreter`, which runs the functions too: all sides run the same Python."""
    wanted = f"# {interpreter}\n{(HERE / 'requirements.txt').read_text()}"
    stamp = VENV / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing gunicorn and scikit-learn in {VENV} for {interpreter}")
    shutil.rmtree(VENV, ignore_errors=True)
    # Debian's interpreter may lack ensurepip; our own pip installs for it.
    subprocess.run([interpreter, "-m", "venv", "--without-pip", VENV], check=True)
    # Not for the repository, whatever its ignore list says.
    (VENV / ".gitignore").write_text("*\n")
    pip = [sys.executable, "-m", "pip", "--python", PYTHON, "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "-r", HERE / "requirements.txt"], check=True, stdin=subprocess.DEVNULL)
    stamp.write_text(wanted)


def site_packages():
    """Folder of what is installed in .venv-bench."""
    found = list((VENV / "lib").glob("python3.*/site-packages"))
    if len(found) != 1:
        raise SystemExit(f"bench: {VENV} is broken: remove it")
    return found[0]


def output_of(command, seconds, environment=None):
    """What a command prints, parsed. One that fails or hangs ends the row that wanted it."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds,
        check=True,
        env=environment,
    )
    return json.loads(done.stdout)


def load(address, request, connections, until, status=200):
    """Runs the load generator; `until` is seconds, or a text such as "200x" for a count."""
    patience = 120 if isinstance(until, str) else until + 90
    found = output_of([LOAD, "http", address, request, connections, until, status], patience)
    if found["errors"]:
        say(f"{found['errors']} errors, the first: {found['first_error']}")
    return found


def version_of(interpreter):
    """For example 3.11.2."""
    script = "import platform; print(platform.python_version())"
    return subprocess.run([interpreter, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
