"""Environments of the Python package: locked here, built by the real server, and seen by calls."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest

import harness
from test_environments import packages

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "sdk" / "python"
sys.path.insert(0, str(PACKAGE))

import dayfly  # noqa: E402  (needs the path above)
from dayfly import lock  # noqa: E402


@pytest.fixture
def button(server, monkeypatch):
    """`dayfly` speaks to the server from elsewhere: through its port, signed."""
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)
    return server


def run(server, text, python=sys.executable, folder=None):
    """The output of a program of its own."""
    result = subprocess.run(
        [str(python), "-c", textwrap.dedent(text)],
        env={**os.environ, **server.variables(), "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=120 * harness.SLOW,
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_calls_have_the_packages_that_were_asked_for(button, tmp_path):
    (tmp_path / "base.txt").write_text("tomli==2.0.1  # note\n")
    (tmp_path / "requirements.txt").write_text("-r base.txt\nsix==1.16.0 \\\n    --hash=sha256:00\ncloudpickle\n")
    environment = dayfly.Environment.from_requirements(tmp_path / "requirements.txt")
    steps = []
    id = environment.build(progress=steps.append)
    assert [step["step"] for step in steps][-1] == "done"
    assert environment.build() == id and environment.wire() == {"kind": "built", "id": id}
    assert (packages(button, {"id": id}) / "tomli").is_dir()

    def versions(x):
        import six
        import tomli

        return x, six.__version__, tomli.__file__

    answers = list(dayfly.map(versions, range(3), env=environment, progress=False))
    place = f"/opt/python/lib/{harness.RUNTIME}/site-packages/tomli/__init__.py"
    assert answers == [(x, "1.16.0", place) for x in range(3)]


def test_what_is_installed_here_is_there_too(server, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (tmp_path / "editable" / "src" / "edited").mkdir(parents=True)
    (tmp_path / "editable" / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'edited'\nversion = '1'\n"
    )
    (tmp_path / "editable" / "src" / "edited" / "__init__.py").write_text("name = 'edited'\n")
    (tmp_path / "editable" / "src" / "edited" / "data.txt").write_text("data")
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "local.py").write_text("def name():\n    return 'local'\n")
    install = [python, "-m", "pip", "install", "-q", "cloudpickle", "six==1.16.0", "-e", tmp_path / "editable"]
    subprocess.run(install, check=True, timeout=120 * harness.SLOW)
    text = """
        import sys
        sys.path.insert(0, "")
        import dayfly
        import local

        def f(x):
            import importlib, six, edited
            from pathlib import Path
            data = (Path(edited.__file__).parent / "data.txt").read_text()
            # By name: it is in the environment, not in the function's pickle.
            return x, six.__version__, edited.name, data, importlib.import_module("local").name()

        if __name__ == "__main__":
            environment = dayfly.Environment.current()
            print(sorted(environment.source["pinned"])[-1], environment.build())
            # The default, for a server that is not this user's own.
            print(list(dayfly.map(f, range(2), progress=False)))
    """
    out = run(server, text, python, tmp_path / "program").splitlines()
    assert out[0].startswith("six==1.16.0 ")
    assert out[1] == str([(x, "1.16.0", "edited", "data", "local") for x in range(2)])
    # Built once: the same files give the same environment.
    assert run(server, text, python, tmp_path / "program").splitlines()[0] == out[0]


def test_errors_have_a_type_and_nothing_runs(button):
    missing = dayfly.Environment.from_requirements(["dayfly-has-no-such-package"])
    with pytest.raises(dayfly.EnvironmentBuildError, match="dayfly-has-no-such-package") as error:
        missing.build()
    assert error.value.type == "PackageNotFound"
    with pytest.raises(dayfly.EnvironmentBuildError) as error:
        list(dayfly.map(str, range(3), env=missing))
    assert error.value.type == "PackageNotFound"
    with pytest.raises(dayfly.EnvironmentBuildError) as error:
        dayfly.Environment.from_requirements(["six"], python="3.8").build()
    assert error.value.type == "IncompatiblePython"


def test_another_python_than_the_environments_is_refused(button):
    others = [minor for minor in (9, 10, 11, 12, 13, 14) if minor != sys.version_info.minor]
    for minor in others:
        environment = dayfly.Environment.from_requirements(["cloudpickle"], python=f"3.{minor}")
        try:
            environment.build()
        except dayfly.EnvironmentBuildError:
            continue
        with pytest.raises(dayfly.JobError, match=f"python3.{minor}"):
            list(dayfly.map(str, range(2), env=environment, progress=False))
        return
    pytest.skip("this machine has one Python")


def test_a_uv_lock_is_read_from_its_folder(button, tmp_path):
    (tmp_path / "uv.lock").write_text("nonsense")
    with pytest.raises(dayfly.EnvironmentBuildError) as error:
        dayfly.Environment.from_uv_lock(tmp_path).build()
    assert error.value.type == "InvalidEnvironment"


def test_a_projects_lock_is_what_calls_have(button, tmp_path):
    # The server has uv by now, wherever it is from.
    dayfly.Environment.from_requirements(["cloudpickle"]).build()
    uv = shutil.which("uv") or next(path for path in button.folder.rglob("uv") if path.is_file() and os.access(path, os.X_OK))
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'mine'\nversion = '1'\nrequires-python = '>=3.9'\n"
        "dependencies = ['six==1.16.0', 'cloudpickle>=3', \"tomli==2.0.1; python_version < '3'\"]\n"
    )
    settings = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_PYTHON": sys.executable}
    index = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    if index.returncode == 0:
        settings["UV_DEFAULT_INDEX"] = index.stdout.strip()
    subprocess.run([uv, "lock", "--quiet"], cwd=tmp_path, env=settings, check=True, timeout=120 * harness.SLOW)
    environment = dayfly.Environment.from_uv_lock(tmp_path)

    def look(_):
        import importlib.util

        import six

        return six.__version__, importlib.util.find_spec("tomli")

    assert list(dayfly.map(look, [0], env=environment, progress=False)) == [("1.16.0", None)]
    assert dayfly.Environment.from_uv_lock(tmp_path / "uv.lock").build() == environment.build()


def test_the_same_files_give_the_same_zip(tmp_path):
    (tmp_path / "a.py").write_text("x")
    one = lock._zip({"a.py": tmp_path / "a.py"})
    os.utime(tmp_path / "a.py", (0, 0))
    assert lock._zip({"a.py": tmp_path / "a.py"}) == one
