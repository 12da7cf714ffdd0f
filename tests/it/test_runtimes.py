"""Every Python that this machine has runs what programs do with the standard library."""

import calls
import pytest
from calls import call, together


@pytest.fixture(scope="module")
def runtimes(server):
    """Runtimes that the server takes, from its own word."""
    with pytest.raises(server.client().exceptions.InvalidParameterValueException) as refused:
        server.create("none", "def handler(event, context): pass", Runtime="python3.8")
    found = [f"python3.{minor}" for minor in range(9, 15)]
    made = []
    for runtime in found:
        try:
            server.create(runtime.replace(".", "-"), calls.source_of("standard.py"), Runtime=runtime, MemorySize=1024, Timeout=60)
            made.append(runtime)
        except server.client().exceptions.InvalidParameterValueException as error:
            # One that is not there is refused with a list of those that are.
            assert runtime in str(error)
    assert made and refused.value is not None
    return made


def test_the_standard_library_works_in_every_runtime(server, runtimes):
    for runtime in runtimes:
        made = together(lambda n, name=runtime.replace(".", "-"): call(server, name, {"n": n}), range(3), threads=3)
        for one in made:
            assert not one.failed, one
            assert f"python{one.payload['version']}" == runtime
            assert one.payload["seen"] == {
                "threads": True,
                "main thread": True,
                "native id": True,
                "subprocess": "3",
                "asyncio": "hi",
                "thread pool": [0, 1, 4, 9, 16],
                "process pool": [0, 1, 4, 9, 16],
                "pool": [0, 1, 4, 9, 16],
                "fork": 7,
                "lock": True,
                "temporary file": True,
                "sqlite": 1,
                "ssl": 8,
                "signal": True,
            }
        assert len({one.payload["random"] for one in made}) == len(made)
