"""Calls with all that is known about them: answer, error, log lines, REPORT and usage record.

Used by the tests of limits, containment and freshness. Functions are the files in `functions/`.
"""

import base64
import concurrent.futures
import dataclasses
import json
import math
import pathlib
import re

import harness
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

FUNCTIONS = pathlib.Path(__file__).parent / "functions"
REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\tDuration: (?P<duration>\d+\.\d\d) ms\tBilled Duration: (?P<billed>\d+) ms\t"
    r"Memory Size: (?P<size>\d+) MB\tMax Memory Used: (?P<used>\d+) MB\t(?P<more>.*)"
)


@dataclasses.dataclass
class Call:
    """One call that was answered."""

    request_id: str
    instance_id: str
    # Whether the answer is marked as a function error.
    failed: bool
    payload: object
    lines: list

    @property
    def error(self):
        """`(errorType, errorMessage)`, without the request id in the message."""
        assert self.failed, self
        return self.payload["errorType"], self.payload.get("errorMessage", "").replace(self.request_id, "ID")

    @property
    def report(self):
        """The REPORT line that the server made: the last one."""
        found = REPORT.fullmatch(self.lines[-1])
        assert found and found["id"] == self.request_id, self.lines[-3:]
        return found

    def own_lines(self):
        """What is between START and END, and was not made by the server."""
        return [line for line in self.lines if not line.startswith(("START ", "END ", "REPORT ", "INIT_"))]


def source_of(file):
    """The text of a function in `functions/`."""
    return (FUNCTIONS / file).read_text()


def processes_with(marker):
    """Pids on the host of processes that have `marker` in their command line."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                pass
    return found


def call(server, name, event=None, tail=True, client=None):
    """One synchronous call."""
    more = {"LogType": "Tail"} if tail else {}
    answer = (client or server.client()).invoke(FunctionName=name, Payload=json.dumps(event), **more)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    body = answer["Payload"].read()
    lines = base64.b64decode(answer["LogResult"]).decode().rstrip("\n").split("\n") if tail else []
    return Call(
        request_id=headers["x-amzn-requestid"],
        instance_id=headers["x-dayfly-instance-id"],
        failed="FunctionError" in answer,
        payload=json.loads(body) if body else None,
        lines=lines,
    )


def do(server, name, what, tail=False, client=None, **arguments):
    """Calls the function `what` of the module that `name` was made of, and returns what it returned."""
    result = call(server, name, {"do": what, **arguments}, tail=tail, client=client)
    assert not result.failed, result.payload
    return result.payload


def together(work, items, threads=16):
    """`[work(item), …]`, side by side."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def dayfly(server, operation, **body):
    """A signed request to Dayfly's own service; the decoded answer."""
    request = AWSRequest(
        "POST",
        server.endpoint + "/",
        data=json.dumps(body),
        headers={"X-Amz-Target": f"Dayfly_20261101.{operation}", "Content-Type": "application/x-amz-json-1.1"},
    )
    keys = Credentials(server.keys["access_key_id"], server.keys["secret_access_key"])
    SigV4Auth(keys, "dayfly", "us-east-1").add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


def usage_of(server, name, count=None):
    """Usage records of a function by request id; with `count`, waits until there are so many."""

    arn = f"arn:aws:lambda:us-east-1:{server.keys['account']}:function:{name}"

    def records():
        found, token = {}, None
        while True:
            more = {"token": token} if token else {}
            page = dayfly(server, "ListUsage", function=arn, limit=1000, **more)
            found.update({record["request_id"]: record for record in page["usage"]})
            token = page.get("token")
            if not token:
                return found if count is None or len(found) >= count else None

    return records() if count is None else harness.wait_until(records, what=f"{count} usage records of {name}")


def log_of(server, name):
    """The lines of a function's log, once there are any: a call's are on disk soon after its answer, not with it."""
    return harness.wait_until(lambda: server.messages(name), what="the log")


def record_of(server, name, made):
    """The usage record of one call, when it is there."""
    return harness.wait_until(lambda: usage_of(server, name).get(made.request_id), what="the call's usage record")


def agree(made, record):
    """Asserts that REPORT line and usage record tell the same, and that the bill is the ceiling."""
    report = made.report
    assert int(report["billed"]) == record["billed_ms"] == max(1, math.ceil(float(report["duration"])))
    assert math.isclose(float(report["duration"]), record["duration_us"] / 1000, abs_tol=0.011)
    assert int(report["size"]) == record["memory_mb"]
    assert int(report["used"]) == math.ceil(record["memory_peak_bytes"] / (1 << 20))
    assert record["instance_id"] == made.instance_id
