"""The wheel, installed into an empty virtual environment: it carries all that a first map and the examples need."""

import contextlib
import importlib.metadata
import os
import pathlib
import shutil
import re
import subprocess
import sys
import venv
import zipfile

import harness
import pytest
from button import stop_server_of

ROOT = pathlib.Path(__file__).parents[2]
# Each example, small, and what it says when it has checked its answers.
EXAMPLES = [
    ("gridsearch", ["--quick"], "All ways agree", ["gridsearch.png"]),
    ("bigdata", ["--size", "2MB"], "All answers are DuckDB's.", []),
    ("wordcount", ["texts", "--reducers", "3"], "identical to a plain loop", []),
    ("montecarlo", ["--calls", "8", "--paths", "500"], "4,000 paths", ["montecarlo.png", "timeline.png"]),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built around the binary that is under test: cargo finds it up to date."""
    folder = tmp_path_factory.mktemp("dist")
    binary = pathlib.Path(harness.BINARY).resolve()
    if binary.parent.name not in ("debug", "release"):
        pytest.skip("DAYFLY_BIN is not where cargo puts it: a wheel would need another build")
    profile = "dev" if binary.parent.name == "debug" else "release"
    subprocess.run(
        [sys.executable, "-m", "maturin", "build", "--quiet", "--locked", "--profile", profile, "--out", folder],
        check=True,
        timeout=600 * harness.SLOW,
        cwd=ROOT / "sdk" / "python",
        env={**os.environ, "CARGO_TARGET_DIR": str(binary.parent.parent)},
    )
    (found,) = folder.glob("dayfly-*.whl")
    return found


def test_it_is_for_every_python_and_typed(wheel):
    assert "-py3-none-" in wheel.name and "linux" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "dayfly/py.typed" in names and any(name.endswith(".data/scripts/dayfly") for name in names)
    assert not [name for name in names if "tests" in name or "__pycache__" in name]
    metadata = next(name for name in names if name.endswith("METADATA"))
    required = [line for line in zipfile.ZipFile(wheel).read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert [line for line in required if "extra ==" not in line] == ["Requires-Dist: cloudpickle>=3.0"]


class Installed:
    """A virtual environment with the wheel and some packages, and the data folder of its own server."""

    def __init__(self, folder, wheel, packages):
        # Everybody may look into it, as into a home's virtual environment: a server of root runs calls as another user.
        folder.chmod(0o755)
        self.home, self.data = folder / "venv", folder / "data"
        self.python = str(self.home / "bin" / "python")
        venv.create(self.home, symlinks=True)
        (site,) = self.home.glob("lib/python3.*/site-packages")
        # As the tests have them: they need no network.
        for package in packages:
            take(package, site)
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True, timeout=120 * harness.SLOW, cwd=folder)

    def run(self, *arguments, folder, seconds=60):
        """The output of a program that has nothing of this checkout on its path."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAYFLY_", "PYTHON"))}
        done = subprocess.run(
            [self.python, *arguments],
            capture_output=True,
            text=True,
            timeout=seconds * harness.SLOW,
            cwd=folder,
            env={**kept, "DAYFLY_DATA": str(self.data), "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def take(name, site):
    """Puts an installed package into another environment, file by file, as links where that is possible."""
    for file in importlib.metadata.distribution(name).files:
        source, target = pathlib.Path(file.locate()), site / file
        # Programs lie beside the packages, and are not needed.
        if ".." in file.parts or not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)


@contextlib.contextmanager
def installed(folder, wheel, packages):
    environment = Installed(folder, wheel, packages)
    try:
        yield environment
    finally:
        stop_server_of(environment.data)


def test_a_first_map_in_an_empty_environment(wheel, tmp_path):
    # Its only dependency.
    with installed(tmp_path, wheel, ["cloudpickle"]) as environment:
        program = "import dayfly; print(list(dayfly.map(lambda x: x*x, range(10))))"
        for _ in range(2):
            assert environment.run("-c", program, folder=tmp_path) == f"{[x * x for x in range(10)]}\n"
        version = subprocess.run([environment.home / "bin/dayfly", "--version"], capture_output=True, text=True, check=True)
        assert version.stdout.startswith("dayfly 0.")


@pytest.fixture(scope="module")
def with_packages(wheel, tmp_path_factory):
    """What the examples' requirements name, and nothing else."""
    lists = [(ROOT / "examples" / name / "requirements.txt") for name, *_ in EXAMPLES]
    lines = [line for file in lists if file.exists() for line in file.read_text().splitlines()]
    packages = {"cloudpickle", *(re.match(r"[\w.-]+", line)[0] for line in lines if line[:1] not in ("", "#"))}
    with installed(tmp_path_factory.mktemp("examples"), wheel, sorted(packages)) as environment:
        yield environment


@pytest.mark.parametrize("name, arguments, says, files", EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_an_example_runs_from_the_wheel(with_packages, tmp_path, name, arguments, says, files):
    shutil.copytree(ROOT / "examples" / name, tmp_path / "example")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("Some words, some more words.\n" * 2_000)
    said = with_packages.run(tmp_path / "example" / f"{name}.py", *arguments, folder=tmp_path, seconds=180)
    assert says in said, said
    for file in files:
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG\r\n")
    # It has found the package and the program of the wheel.
    where = with_packages.run("-c", "import dayfly.embedded as e; print(e.__file__, e.binary(), sep='\\n')", folder=tmp_path)
    assert all(line.startswith(f"{with_packages.home}/") for line in where.splitlines()), where
