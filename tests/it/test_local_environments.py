"""The caller's own environment, in the shapes in which people have one: each call sees what its caller can import."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import textwrap

import cloudpickle
import harness
import pytest
from button import PACKAGE, button, output_of, script

assert button, "a fixture"

MINOR = f"python3.{sys.version_info.minor}"
CLOUDPICKLE = pathlib.Path(cloudpickle.__file__).parent


@pytest.fixture
def place(tmp_path):
    """A folder that everybody may look into, as into /opt or a home: a server of root runs calls as another user."""
    tmp_path.chmod(0o755)
    return tmp_path


def package(folder, name, text):
    """A package, or a module of a namespace, that is imported and says `text`."""
    path = folder.joinpath(*name.split("."))
    path.mkdir(parents=True, exist_ok=True)
    (path / "__init__.py").write_text(f"text = {text!r}\n")
    return path


def pickler(site):
    """What every environment needs, where this one's is pure Python."""
    shutil.copytree(CLOUDPICKLE, site / "cloudpickle", dirs_exist_ok=True)


def seen_by_a_call(python, expression, *names, folder=None, **environment):
    """What the expression is in a call and here, after the imports of `names`; and where the call found the last of them."""
    program = f"""
        import sys
        sys.path[:] = [path for path in sys.path if path]
        {"; ".join(f"import {name}" for name in names) or "pass"}
        import dayfly
        def look(_):
            import os, sys
            import {", ".join(names or ["os"])}
            return {expression}, sys.prefix, sys.executable
        if __name__ == "__main__":
            (there,) = dayfly.map(look, [0])
            assert there == look(0), (there, look(0))
            print(there[0])
    """
    environment = {"PYTHONPATH": str(PACKAGE), **environment}
    return output_of(script(program, python=str(python), environment=environment, cwd=folder or "/")).strip()


def base():
    """The interpreter itself, outside of any virtual environment."""
    return os.path.realpath(sys.executable)


def test_a_conda_prefix(button, place):
    # As conda lays one out: an interpreter of its own, shared libraries and data beside it, and other environments below.
    root = place / "miniconda3"
    prefix = root / "envs" / "mine"
    for folder in ("bin", "lib", "conda-meta", "share/proj", "ssl"):
        (prefix / folder).mkdir(parents=True)
    shutil.copy2(base(), prefix / "bin" / MINOR)
    for name in ("python3", "python"):
        (prefix / "bin" / name).symlink_to(MINOR)
    stdlib = pathlib.Path(sysconfig.get_paths(scheme="posix_prefix", vars={"installed_base": sys.base_prefix})["stdlib"])
    unused = shutil.ignore_patterns("site-packages", "dist-packages", "test", "idlelib", "tkinter", "config-*", "ensurepip")
    shutil.copytree(stdlib, prefix / "lib" / MINOR, ignore=unused)
    for library in pathlib.Path(sys.base_prefix, "lib").glob("libpython3.*.so*"):
        shutil.copy2(library, prefix / "lib", follow_symlinks=False)
    # Debian's interpreters look into other folders than all others do.
    asked = [prefix / "bin" / "python", "-S", "-c", "import site; print(site.getsitepackages()[0])"]
    libraries = {**os.environ, "LD_LIBRARY_PATH": str(prefix / "lib")}
    site = pathlib.Path(subprocess.run(asked, env=libraries, capture_output=True, text=True, check=True).stdout.strip())
    assert site.is_relative_to(prefix)
    site.mkdir(parents=True)
    pickler(site)
    (prefix / "conda-meta" / "history").write_text("")
    (prefix / "share" / "proj" / "proj.db").write_text("data")
    (prefix / "ssl" / "cert.pem").write_text("certificates")
    (prefix / "lib" / "libmine.txt").write_text("library")
    (root / "envs" / "other").mkdir()
    package(site, "with_data", "conda")
    (prefix / "bin" / "tool").write_text("#!/bin/sh\necho a tool\n")
    names = ["share/proj/proj.db", "ssl/cert.pem", "lib/libmine.txt", "bin/tool"]
    files = f"[os.path.exists(os.path.join(sys.prefix, name)) for name in {names}]"
    said = seen_by_a_call(prefix / "bin" / "python", f"(with_data.text, {files})", "with_data", LD_LIBRARY_PATH=str(prefix / "lib"))
    assert said == "('conda', [True, True, True, True])"


def test_a_user_site(button, place):
    site = place / "local" / "lib" / MINOR / "site-packages"
    package(site, "installed_for_me", "user site")
    pickler(site)
    said = seen_by_a_call(base(), "installed_for_me.text", "installed_for_me", PYTHONUSERBASE=str(place / "local"))
    assert said == "user site"


def test_a_virtual_environment_that_sees_the_systems_packages(button, place):
    # Its base is an environment's interpreter whose packages a call does not see otherwise.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", place / "venv"], check=True)
    (site,) = (place / "venv").glob("lib/python3*/site-packages")
    package(site, "of_the_venv", "venv")
    pickler(site)
    # Debian's are in dist-packages, others' in site-packages.
    program = "import importlib.metadata as m; print(next(d.metadata['Name'] for d in m.distributions() if d.files))"
    there = subprocess.run([base(), "-I", "-c", program], capture_output=True, text=True, cwd="/").stdout.strip()
    expression = "of_the_venv.text"
    if there:
        expression = f"(of_the_venv.text, __import__('importlib.metadata').metadata.distribution({there!r}).metadata['Name'])"
    said = seen_by_a_call(place / "venv" / "bin" / "python", expression, "of_the_venv")
    assert said == (f"('venv', {there!r})" if there else "venv")


@pytest.mark.parametrize("layout", ["flat", "src"])
def test_an_editable_install(button, place, layout):
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    python = place / "venv" / "bin" / "python"
    project = place / "project"
    sources = project / "src" if layout == "src" else project
    # Compiled modules and data do not travel by value, nor what is imported by name: the sources have to be seen.
    (package(sources, "edited", "editable") / "data.txt").write_text("data")
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'edited'\nversion = '1'\n[tool.setuptools]\npackages = ['edited']\n"
        + ("package-dir = {'' = 'src'}\n" if layout == "src" else "")
    )
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "cloudpickle", "-e", project]
    subprocess.run(install, check=True, timeout=120 * harness.SLOW, stdin=subprocess.DEVNULL)
    by_name = "__import__('importlib').import_module('edited')"
    data = "open(os.path.join(os.path.dirname(edited.__file__), 'data.txt')).read()"
    assert seen_by_a_call(python, f"({by_name}.text, {data})", "edited") == "('editable', 'data')"


def test_namespace_packages(button, place):
    one, two, three = (place / name / "site-packages" for name in ("one", "two", "three"))
    package(one, "shared.first", 1)
    package(two, "shared.second", 2)
    # As pkg_resources does it: a line of a .pth file makes the namespace.
    package(three / "below", "older.third", 3)
    (three / "older-nspkg.pth").write_text(
        "import sys, types, os; p = os.path.join(sys._getframe(1).f_locals['sitedir'], 'below', 'older'); "
        "m = sys.modules.setdefault('older', types.ModuleType('older')); m.__dict__.setdefault('__path__', []).append(p)\n"
    )
    program = textwrap.dedent(f"""
        import site, sys
        for folder in {[str(one), str(two), str(three)]!r}:
            site.addsitedir(folder)
    """)
    (place / "start").mkdir()
    (place / "start" / "sitecustomize.py").write_text(program)
    pickler(place / "site-packages")
    path = f"{PACKAGE}:{place / 'start'}:{place / 'site-packages'}"
    names = ["shared.first", "shared.second", "older.third"]
    expression = "[shared.first.text, shared.second.text, older.third.text]"
    assert seen_by_a_call(base(), expression, *names, PYTHONPATH=path) == "[1, 2, 3]"


def test_a_local_namespace_package(button, place):
    package(place / "program", "mine.inner", "local")
    pickler(place / "site-packages")
    path = f"{PACKAGE}:{place / 'site-packages'}:{place / 'program'}"
    assert seen_by_a_call(base(), "mine.inner.text", "mine.inner", PYTHONPATH=path) == "local"


def test_a_folder_of_the_path_that_is_gone_has_a_typed_error(button, place):
    package(place / "gone", "vanishing", 1)
    program = f"""
        import shutil, sys
        sys.path.insert(0, {str(place / "gone")!r})
        import dayfly
        def items():
            shutil.rmtree({str(place / "gone")!r})
            yield 1
        try:
            print(list(dayfly.map(str, items())))
        except dayfly.DayflyError as error:
            print(type(error).__name__, error)
    """
    said = output_of(script(program))
    assert said == f"InitError {place / 'gone'} of the job's environment is not there any more\n"
