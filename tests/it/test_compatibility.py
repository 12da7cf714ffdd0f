"""docs/compatibility.md says of each operation of each service whether it is served. This asks a real server for every one
that botocore knows, with as little as it must have, and compares. What is missing in one comes from docs/aws-api.md.

`make compatibility` writes the page anew.
"""

import os
import pathlib
import re

import botocore
import harness
from botocore.exceptions import BotoCoreError, ClientError

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
ABOUT = PAGE.with_name("aws-api.md")
REWRITE = "DAYFLY_WRITE_COMPATIBILITY"
# botocore's name, and the one in docs/aws-api.md.
SERVICES = {
    "lambda": "Lambda",
    "apigateway": "API Gateway",
    "apigatewayv2": "API Gateway v2",
    "dynamodb": "DynamoDB",
    "events": "EventBridge",
    "iam": "IAM",
    "logs": "CloudWatch Logs",
    "s3": "S3",
    "scheduler": "EventBridge Scheduler",
    "sns": "SNS",
    "sqs": "SQS",
    "sts": "STS",
}
HEAD = """# Operations of AWS's services

Written by `make compatibility`, which asks a server for every operation that botocore {version} knows. Not written by hand.

An operation is **served**, or served **partly**: then it says what is not supported yet in it
([docs/aws-api.md](aws-api.md) has the details). One that is **empty** answers as for something that was never configured.
Every other operation is **refused** with an error that names it.
"""
# Asked of a bucket that is there, so that its answer tells whether it is served.
BUCKET = "compatibility"
# S3's word for it, what an operation of a service that is not there at all gets, and one that nobody signs.
UNKNOWN = ("NotImplemented", "UnknownOperationException", "501", "MissingAuthenticationToken")
NEVER_SET = re.compile(r"NoSuch(?!Bucket$|Key$|Upload$|Entity)|NotFoundError$|ObjectLockConfigurationNotFound")


def test_the_page_is_what_the_server_serves(folder):
    with harness.Server(folder) as server:
        page = written(server)
    if os.environ.get(REWRITE):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, f"{PAGE.name} is not what the server serves: run `make compatibility`"


def written(server):
    """The page."""
    parts = [HEAD.format(version=botocore.__version__)]
    known = missing_parts()
    for service, title in SERVICES.items():
        client = server.client(service, inject_host_prefix=False)
        methods = client.meta.method_to_api_mapping.items()
        states = {name: state(client, method, name) for method, name in sorted(methods, key=lambda pair: pair[1])}
        served = [name for name in states if states[name] == "served"]
        # A page that speaks of an operation that is refused would mislead.
        assert not [name for name in known.get(title, {}) if states.get(name) == "refused"], f"{ABOUT.name} on {title}"
        parts.append(f"\n## {title}\n\n{len(served)} of {len(states)} operations.\n\n| operation | state |\n|---|---|\n")
        for name in served:
            lacks = known.get(title, {}).get(name, "")
            parts.append(f"| {name} | {'partly: ' + lacks if lacks else 'served'} |\n")
        for which in ("empty", "refused"):
            names = [name for name in states if states[name] == which]
            if names:
                parts.append(f"| {', '.join(names)} | {which} |\n")
    return "".join(parts)


def state(client, method, name):
    """`served`, `empty` or `refused`."""
    is_s3 = client.meta.service_model.service_name == "s3"
    try:
        if is_s3:
            # Another operation may have deleted it.
            client.create_bucket(Bucket=BUCKET)
        getattr(client, method)(**least(client.meta.service_model.operation_model(name).input_shape))
    except ClientError as error:
        answer = error.response
        code, message = answer["Error"].get("Code", ""), answer["Error"].get("Message", "")
        if code in UNKNOWN or re.search(rf"does not support (the service \w+|{name}) yet", message):
            return "refused"
        return "empty" if is_s3 and NEVER_SET.search(code) else "served"
    except BotoCoreError as error:
        raise AssertionError(f"{name}: {error}") from error
    return "served"


def least(shape):
    """What a request must have, to be sent at all: values of the right type, and no more."""
    if shape is None:
        return {}
    found = {}
    for member in shape.required_members:
        value = shape.members[member]
        if member == "Bucket":
            found[member] = BUCKET
        elif value.type_name == "structure":
            found[member] = least(value)
        else:
            found[member] = {
                "list": [], "map": {}, "integer": 1, "long": 1, "boolean": False, "blob": b"", "timestamp": 0, "float": 1.0, "double": 1.0,
            }.get(value.type_name, "x")  # fmt: skip
    return found


def missing_parts():
    """From the tables of docs/aws-api.md: service, operation, what it lacks."""
    found, title = {}, ""
    for line in ABOUT.read_text().splitlines():
        heading = re.match(r"\*\*([^*]+)\*\*", line)
        title = heading[1] if heading else "" if line.startswith("#") else title
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("| ") else []
        if title and len(cells) == 2 and cells[0] != "operation":
            lacks = cells[1].strip("| ")
            for name in re.findall(r"\b[A-Z][a-z]+[A-Za-z0-9]*[a-z]\b", re.sub(r"\([^)]*\)", "", cells[0])):
                found.setdefault(title, {})[name] = lacks
    return found
