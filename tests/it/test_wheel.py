"""The wheel, installed into an empty virtual environment: it carries all that a first map needs."""

import os
import pathlib
import shutil
import subprocess
import sys
import venv
import zipfile

import harness
import pytest
from button import stop_server_of

ROOT = pathlib.Path(__file__).parents[2]


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


def test_a_first_map_in_an_empty_environment(wheel, tmp_path):
    import cloudpickle

    # Everybody may look into it, as into a home's virtual environment: a server of root runs calls as another user.
    tmp_path.chmod(0o755)
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    python = str(home / "bin" / "python")
    # Its only dependency, as the tests have it: they need no network.
    (packages,) = home.glob("lib/python3.*/site-packages")
    shutil.copytree(pathlib.Path(cloudpickle.__file__).parent, packages / "cloudpickle")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True, timeout=120 * harness.SLOW, cwd=tmp_path)
    data = tmp_path / "data"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAYFLY_", "PYTHON"))}
    environment = {**kept, "DAYFLY_DATA": str(data), "PATH": "/usr/bin:/bin"}
    try:
        for _ in range(2):
            done = subprocess.run(
                [python, "-c", "import dayfly; print(list(dayfly.map(lambda x: x*x, range(10))))"],
                capture_output=True,
                text=True,
                timeout=60 * harness.SLOW,
                cwd=tmp_path,
                env=environment,
            )
            assert (done.returncode, done.stdout) == (0, f"{[x * x for x in range(10)]}\n"), done.stderr
        version = subprocess.run([home / "bin" / "dayfly", "--version"], capture_output=True, text=True, check=True)
        assert version.stdout.startswith("dayfly 0.")
    finally:
        stop_server_of(data)
