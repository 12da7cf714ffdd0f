"""Everything that the benchmarks run: built and installed here, before anything is measured."""

import functools
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
# Of the peers that run Python functions; much, so only made when it is used.
JOBS_VENV = pathlib.Path(os.environ.get("DAYFLY_BENCH_JOBS_VENV") or ROOT / ".venv-bench-jobs").resolve()
INSTALL_S = 900
# Built by cargo when it is used: another object store.
S3S = pathlib.Path(os.environ.get("DAYFLY_BENCH_S3S") or ROOT / ".bench-s3s").resolve()
S3S_VERSION = "0.14.1"
BUILD_S = 1800
EACH_S = 300
LOAD = TARGET / "release" / "load"
FLOOR = TARGET / "release" / "examples" / "floor"
STORE = TARGET / "release" / "examples" / "enqueue_bench"

# The tests' way to start a server is ours too; it looks for the binary when it is imported.
os.environ["DAYFLY_BIN"] = str(BINARY)
sys.path.insert(0, str(ROOT / "tests"))


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def build(groups):
    """The load generator and, for the groups that use them, the floor and the store's own benchmark."""
    if not BINARY.exists():
        raise SystemExit(f"bench: {BINARY} is missing: run `make bench`, or set DAYFLY_BIN")
    say("building the load generator")
    cargo = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(TARGET)]
    subprocess.run([*cargo, "--manifest-path", HERE / "load" / "Cargo.toml"], check=True)
    used = {"throughput": ("dayfly-worker", "floor"), "enqueue": ("dayfly-store", "enqueue_bench")}
    for package, example in [used[group] for group in used if group in groups]:
        say(f"building {example}")
        subprocess.run([*cargo, "-p", package, "--example", example], check=True, cwd=ROOT)


def install(interpreter):
    """Makes .venv-bench with `interpreter`, which runs the functions too: all sides run the same Python."""
    install_in(VENV, interpreter, "requirements.txt")


@functools.cache
def jobs_python():
    """The Python of .venv-bench-jobs, installed with the first use."""
    base = subprocess.run([PYTHON, "-c", "import sys; print(sys._base_executable)"], capture_output=True, text=True, check=True)
    install_in(JOBS_VENV, base.stdout.strip(), "requirements-jobs.txt")
    return JOBS_VENV / "bin" / "python"


@functools.cache
def versions_of_jobs():
    """Versions of what is in .venv-bench-jobs, by name."""
    lines = (HERE / "requirements-jobs.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@functools.cache
def s3s_fs():
    """The program of s3s-fs, built with the first use: some minutes. Raises `RuntimeError` when it cannot be."""
    program = S3S / "bin" / "s3s-fs"
    version = [program, "--version"]
    if not program.exists() or subprocess.run(version, capture_output=True, text=True).stdout.split()[-1:] != [S3S_VERSION]:
        say(f"building s3s-fs {S3S_VERSION} in {S3S}")
        S3S.mkdir(exist_ok=True)
        # Not for the repository, whatever its ignore list says.
        (S3S / ".gitignore").write_text("*\n")
        command = ["cargo", "install", "s3s-fs", "--version", S3S_VERSION, "--locked", "--features", "binary", "--quiet", "--root", S3S]
        done = subprocess.run(
            [str(part) for part in [*command, "--target-dir", S3S / "target"]],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=BUILD_S,
        )
        shutil.rmtree(S3S / "target", ignore_errors=True)
        if done.returncode:
            raise RuntimeError(f"s3s-fs cannot be built: {done.stderr.strip().splitlines()[-1:]}")
    return program


def install_in(venv, interpreter, name):
    """Makes a virtual environment with what one of the files here names, unless it is there."""
    wanted = f"# {interpreter}\n{(HERE / name).read_text()}"
    stamp = venv / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing {name} in {venv} for {interpreter}")
    shutil.rmtree(venv, ignore_errors=True)
    # Debian's interpreter may lack ensurepip; our own pip installs for it.
    subprocess.run([interpreter, "-m", "venv", "--without-pip", venv], check=True)
    # Not for the repository, whatever its ignore list says.
    (venv / ".gitignore").write_text("*\n")
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "-r", HERE / name], check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_S)
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


def each(address, requests, connections):
    """Sends every request of a file once. An error ends the row."""
    found = output_of([LOAD, "each", address, requests, connections], EACH_S)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']} errors, the first: {found['first_error']}")
    return found


def version_of(interpreter):
    """For example 3.11.2."""
    script = "import platform; print(platform.python_version())"
    return subprocess.run([interpreter, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
