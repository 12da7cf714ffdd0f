"""What runs in a call: takes the arguments' bytes, calls the function, gives the result's bytes.

It travels by value inside the function file, so that an environment needs `cloudpickle` and nothing else of ours; it
uses only the standard library, cloudpickle, and `_s3` and `_sigv4`, which travel with it.

Bytes in and out begin with a letter. In: `A` pickled (args, kwargs) of one call, `B` pickled list of args of several,
`T` the same, timed: a pickled pair of seconds and the list, of which so many are called as can begin in that time, one at
least; `F` pickled pair of the pickled function and the pickled (args, kwargs), whose buffers, if any, are those that the function
file shares; `@` the key of an object that holds such bytes. Out: `V` pickled value, `L` pickled list of
values, `B` pickled list of (worked, bytes) where bytes is a pickled value or a failure, `@` a key; for `T`, `T` and u32 (how
many were called) before one of these.
A failure is the pickled tuple (what, exception, type, message, traceback): what is `raised`, `arguments` or `result`;
exception is pickled, or None where it cannot be; the rest is text.
"""

from __future__ import annotations

import pickle
import time
from typing import Any, Callable, Optional

from . import _s3

# Above this, bytes go through the object store: the protocol takes 6 MiB.
INLINE_BYTES_MAX = 4 << 20


class Raised(Exception):
    """Tells the runtime that the call ends in an exception, and with which bytes."""

    def __init__(self, payload: bytes) -> None:
        Exception.__init__(self, "the function raised")
        self.dayfly_payload = payload


def prepare(
    function: Any, prefix: str, setup: Optional[Callable[[], Any]], shared: "list[Any]"
) -> Callable[[bytes], bytes]:
    """Runs once, when the function file is unpickled: what `setup` does is there in every call.

    `function` is None when each call brings its own, with `shared` as the buffers of its arguments. Results that are too
    large go under `prefix` in the store.
    """
    if setup is not None:
        setup()

    def call(arguments: bytes) -> bytes:
        return run(function, prefix, arguments, shared)

    return call


def run(function: Any, prefix: str, arguments: bytes, shared: "list[Any]") -> bytes:
    """One call: `arguments` in, the answer's bytes out; raises `Raised` with the failure's bytes."""
    key = arguments[1:].decode() if arguments[:1] == b"@" else None
    try:
        if key is not None:
            arguments = _s3.Store.of_call().get(key)
        letter = arguments[:1]
        data = pickle.loads(memoryview(arguments)[1:])
        if letter == b"F":
            function, data = pickle.loads(data[0]), pickle.loads(data[1], buffers=shared)
    except Exception as error:
        raise Raised(_failure("arguments", error)) from None
    timed = letter == b"T"
    before = b""
    if timed or letter == b"B":
        worked, (count, body) = True, _many(function, *(data if timed else (None, data)))
        before = b"T" + count.to_bytes(4, "little") if timed else b""
    else:
        worked, body = _one(function, *data)
        body = b"V" + body if worked else body
    if key is not None:
        # A call is tried again when it dies. This one has not.
        _forget(key)
    if not worked:
        raise Raised(body)
    return before + _sendable(body, prefix)


# What cannot change after the call, and is unpickled without running code.
_PLAIN = frozenset([int, float, complex, bool, str, bytes, type(None)])


def _many(function: Any, seconds: Optional[float], data: Any) -> "tuple[int, bytes]":
    """Several calls, one after the other: how many, and the answer."""
    end = None if seconds is None else time.monotonic() + seconds
    values: "list[Any]" = []
    plain = True
    for args in data:
        if end is not None and values and time.monotonic() > end:
            break
        try:
            value = function(*args)
        except SystemExit:
            raise
        except BaseException as error:
            value = (False, _failure("raised", error))
        else:
            if type(value) in _PLAIN:
                values.append(value)
                continue
            # Now: the next item may change it.
            value = _dumped(value)
        plain = False
        values.append(value)
    if plain:
        return len(values), b"L" + pickle.dumps(values, 5)
    parts = [value if type(value) is tuple else (True, pickle.dumps(value, 5)) for value in values]
    return len(values), b"B" + pickle.dumps(parts, 5)


def _forget(key: str) -> None:
    try:
        _s3.Store.of_call().delete(key)
    except _s3.StoreError:
        pass


def _one(function: Any, args: Any, kwargs: Any) -> "tuple[bool, bytes]":
    try:
        value = function(*args, **kwargs)
    except SystemExit:
        raise
    except BaseException as error:
        return False, _failure("raised", error)
    return _dumped(value)


def _dumped(value: Any) -> "tuple[bool, bytes]":
    try:
        return True, dumps(value)
    except Exception as error:
        if hasattr(value, "__next__"):
            what = "an iterator (%s), which cannot leave its call: return a list of what it gives" % type(value).__name__
            error = TypeError("the function returned " + what)
        return False, _failure("result", error)


def dumps(value: Any) -> bytes:
    """Pickles `value`; by value what this process alone has."""
    try:
        return pickle.dumps(value, 5)
    except Exception:
        # Classes and functions that came by value have no module here; only cloudpickle takes them.
        import cloudpickle

        return bytes(cloudpickle.dumps(value, 5))


def _failure(what: str, error: BaseException) -> bytes:
    import traceback

    # The first frame is the one that called the function.
    trace = error.__traceback__
    if what == "raised" and trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception as broken:
        text = "the traceback cannot be shown: %r" % broken
    try:
        message = str(error)
    except Exception:
        message = "<exception str() failed>"
    pickled: Optional[bytes]
    try:
        pickled = dumps(error)
        # An exception with a constructor of its own may pickle and not unpickle.
        pickle.loads(pickled)
    except Exception:
        pickled = None
    payload = pickle.dumps((what, pickled, type(error).__name__, message, text), 5)
    if len(payload) > INLINE_BYTES_MAX:
        payload = pickle.dumps((what, None, type(error).__name__, message[:10000], text[-100000:]), 5)
    return payload


def _sendable(answer: bytes, prefix: str) -> bytes:
    if len(answer) <= INLINE_BYTES_MAX:
        return answer
    import uuid

    key = prefix + str(uuid.uuid4())
    try:
        _s3.Store.of_call().put(key, answer)
    except Exception as error:
        raise Raised(_failure("result", error)) from None
    return b"@" + key.encode()
