"""What goes by value and what by reference, the function file, and errors that name the culprit."""

import functools
import importlib
import pickle
import subprocess
import sys
import textwrap
import threading
import types

import cloudpickle
import peer
import pytest

from dayfly import NotPicklable, pickling


def load(pickled):
    return peer.load(b"".join(bytes(part) for part in pickled.file()))


def call(function, *args):
    answer = load(pickling.function_file(function))(pickling.call(args, {}))
    assert answer[:1] == b"V"
    return pickle.loads(answer[1:])


def test_a_function_goes_into_a_file_and_comes_out():
    offset = 3
    assert call(lambda x: x + offset, 4) == 7


def test_large_buffers_lie_beside_the_pickle_and_stay_writable():
    data = bytearray(b"x" * 200_000)
    buffer = pickle.PickleBuffer(data)
    pickled = pickling.dumps([buffer, b"small"], "it", 1000)
    assert len(pickled.data) < 1000 and len(pickled.buffers) == 1
    small = pickling.dumps([pickle.PickleBuffer(bytearray(10))], "it", 1000)
    assert small.buffers == []
    assert pickled.digest() == pickling.dumps([buffer, b"small"], "it", 1000).digest()
    data[5] = 0
    assert pickled.digest() != pickling.dumps([pickle.PickleBuffer(b"x" * 200_000), b"small"], "it", 1000).digest()


def test_arrays_are_not_copied():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1 << 17, dtype="f8")
    pickled = pickling.function_file(lambda i: array[i])
    assert pickled.buffers[0].raw().nbytes == array.nbytes
    assert len(pickled.data) < 100_000
    assert "numpy" in pickled.modules or any(name.startswith("numpy") for name in pickled.modules)
    assert call(lambda i: float(array[i]), 100) == 100.0


@pytest.fixture
def local_module(tmp_path, monkeypatch):
    def make(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        module = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


def elsewhere(data, expression="f"):
    """Evaluates an expression over what `data` holds, in an interpreter that has only cloudpickle."""
    program = f"import sys, pickle; f = pickle.load(sys.stdin.buffer); print({expression})"
    folder = str(importlib.util.find_spec("cloudpickle").submodule_search_locations[0])[: -len("/cloudpickle")]
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.append({folder!r}); {program}"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_local_modules_go_by_value(local_module):
    module = local_module("mine_by_value", "K = 5\ndef helper(x): return x * K\nclass C:\n    def get(self): return K\n")
    pickled = pickling.dumps(lambda x: (module.helper(x), module.C().get()), "it")
    assert elsewhere(pickled.data, "f(2)") == "(10, 5)"
    assert pickling.module_kind("mine_by_value") == "local"
    assert "mine_by_value" not in pickled.modules
    assert "mine_by_value" not in cloudpickle.list_registry_pickle_by_value(), "left as it was"


def test_a_local_module_that_cannot_go_by_value_goes_by_reference(local_module):
    module = local_module("mine_with_lock", "import threading\nLOCK = threading.Lock()\ndef f(x):\n    with LOCK: return x\n")
    data = pickling.dumps(module.f, "it").data
    assert b"mine_with_lock" in data and pickle.loads(data) is module.f


def test_installed_and_standard_modules_go_by_reference():
    assert pickling.module_kind("json") == pickling.module_kind("threading") == "standard"
    assert pickling.module_kind("pytest") == pickling.module_kind("_pytest.python") == "installed"
    assert pickling.module_kind("__main__") == "main"
    assert pickling.module_kind("no.such") == "unknown"
    assert len(pickling.dumps(pytest.raises, "it").data) < 200


def test_modules_that_a_function_uses_are_imported_early():
    def uses(x):
        import pluggy  # (imported here on purpose)
        import json

        return pluggy, json, pytest, [lambda: __import__("os")]

    modules = pickling.function_file(uses).modules
    assert {"pluggy", "pytest"} <= modules
    assert not modules & {"json", "os", "dayfly", "cloudpickle", __name__}
    assert pickling.imports(frozenset(["b", "a"])) == ["a", "b"]


def test_the_runner_needs_nothing_of_this_package():
    data = pickling.function_file(lambda x: x * 2).data
    assert elsewhere(data, "pickle.loads(f(b'A' + pickle.dumps(((4,), {}), 5))[1:])") == "8"
    assert elsewhere(data, "[m for m in sys.modules if m.startswith('dayfly')]") == "[]"


def test_the_setup_runs_when_the_file_is_loaded():
    def setup(name):
        sys.modules[name] = types.ModuleType(name)

    pickled = pickling.function_file(None, "", functools.partial(setup, "made_by_setup"))
    assert "made_by_setup" not in sys.modules
    load(pickled)
    assert sys.modules.pop("made_by_setup")


class Holder:
    def __init__(self, held):
        self.held = held

    def method(self, x):
        return x


LOCK = threading.Lock()


def uses_a_global(x):
    return LOCK


# As if they were the script's. Of a local module they would go by reference, when they cannot go by value.
uses_a_global.__module__ = "__main__"


def captured(value):
    def inner(x):
        return value

    return inner


def with_default(x, lock=LOCK):
    return x


with_default.__module__ = "__main__"


@pytest.mark.parametrize(
    "function, path",
    [
        (uses_a_global, "uses_a_global.<globals>['LOCK']"),
        (captured(LOCK), "inner.<closure>['value']"),
        (captured({"a": [1, LOCK]}), "inner.<closure>['value']['a'][1]"),
        (captured(Holder({"b": LOCK})), "inner.<closure>['value'].held['b']"),
        (Holder(LOCK).method, "method.__self__.held"),
        (with_default, "with_default.<defaults>[0]"),
        (functools.partial(captured(1), LOCK), "partial.args[0]"),
        (captured(captured(LOCK)), "inner.<closure>['value'].<closure>['value']"),
    ],
)
def test_what_cannot_be_pickled_is_named_with_its_path(function, path):
    with pytest.raises(NotPicklable) as caught:
        pickling.function_file(function)
    assert f"{path} is a _thread.lock" in str(caught.value)


def test_an_argument_that_cannot_be_pickled_is_named():
    with pytest.raises(NotPicklable) as caught:
        pickling.call((1, {"k": (2, LOCK)}), {})
    assert "arguments[1]['k'][1] is a _thread.lock" in str(caught.value)
    with pytest.raises(NotPicklable, match=r"arguments\['x'\] is a _thread.lock"):
        pickling.call((), {"x": LOCK})


def test_what_refers_to_itself_is_explained_too():
    loop = [LOCK]
    loop.append(loop)
    with pytest.raises(NotPicklable, match="_thread.lock"):
        pickling.function_file(captured(loop))
