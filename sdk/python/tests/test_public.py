"""The public surface: each name is documented and typed."""

import inspect
import pathlib
import subprocess
import sys

import pytest

import dayfly

PACKAGE = pathlib.Path(dayfly.__file__).parents[1]


def public():
    """Each public class and function, and each method that a class of ours defines itself, by name."""
    for name in dayfly.__all__:
        thing = getattr(dayfly, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        yield name, thing
        for inner, method in vars(thing).items() if inspect.isclass(thing) else ():
            function = getattr(method, "__func__", method)
            if not inner.startswith("_") and (inspect.isfunction(function) or isinstance(method, property)):
                yield f"{name}.{inner}", function


def test_everything_public_is_documented():
    assert len(list(public())) > 60
    assert [name for name, thing in public() if not inspect.getdoc(thing)] == []


def test_every_public_function_says_what_it_gives():
    functions = [(name, getattr(thing, "fget", thing)) for name, thing in public() if not inspect.isclass(thing)]
    assert [name for name, function in functions if "return" not in function.__annotations__] == []


def test_the_types_hold(tmp_path):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--cache-dir", tmp_path]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # As a user's program sees it: the results have the function's type.
    (tmp_path / "program.py").write_text(
        "import dayfly\n"
        "def f(x: int) -> str: ...\n"
        "reveal_type(dayfly.submit(f, 1).result())\n"
        "reveal_type(list(dayfly.map(f, [1])))\n"
        "reveal_type(dayfly.map_reduce(f, [1], len))\n"
        "reveal_type(dayfly.Executor().submit(f, 1))\n"
    )
    done = subprocess.run([*command, "program.py"], cwd=tmp_path, env={"MYPYPATH": str(PACKAGE)}, capture_output=True, text=True)
    revealed = [line.partition('"')[2].rstrip('"') for line in done.stdout.splitlines() if "Revealed" in line]
    assert revealed == ["str", "list[str]", "int", "dayfly.answers.Future[str]"], done.stdout
