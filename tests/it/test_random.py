"""1,000 calls, each a clone of the same zygote: no random value is given out twice."""

import io
import json
import pathlib
import zipfile
from concurrent.futures import ThreadPoolExecutor

import harness
import numpy

SOURCE = """
import os, random, secrets, uuid
import numpy
numpy.random.seed(1)
random.seed(1)

def handler(event, context):
    return {
        "random": random.random(),
        "numpy": float(numpy.random.rand()),
        "uuid4": str(uuid.uuid4()),
        "uuid1": str(uuid.uuid1()),
        "urandom": os.urandom(16).hex(),
        "secrets": secrets.token_hex(16),
    }
"""
CALLS = 1000


def package():
    """The handler with the NumPy of this environment beside it."""
    site = pathlib.Path(numpy.__file__).parents[1]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("app.py", SOURCE)
        for folder in ("numpy", "numpy.libs"):
            for path in sorted((site / folder).rglob("*")):
                unneeded = {"tests", "__pycache__", "include"} & set(path.parts)
                if path.is_file() and not unneeded:
                    archive.write(path, path.relative_to(site))
    return content.getvalue()


def test_no_random_value_twice(server):
    client = server.client()
    client.create_function(
        FunctionName="dice", Runtime=harness.RUNTIME, Role=harness.ROLE, Handler="app.handler",
        MemorySize=512, Timeout=30, Code={"ZipFile": package()},
        # With a second BLAS thread the version would boot for each call, and the seeds above would be the caller's wish.
        Environment={"Variables": {"OPENBLAS_NUM_THREADS": "1"}},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="dice", WaiterConfig={"Delay": 0.2})

    def call(_):
        answer = client.invoke(FunctionName="dice")
        value = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, value
        return value, answer["ResponseMetadata"]["HTTPHeaders"]["x-dayfly-instance-id"]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(CALLS)))
    assert len({instance for _, instance in results}) == CALLS
    for kind in results[0][0]:
        assert len({value[kind] for value, _ in results}) == CALLS, f"{kind} repeats"
