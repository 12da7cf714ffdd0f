"""Writes src/aws/*/operations.rs: every operation of the services that are served in part, and Lambda's runtimes.

Usage: python3 crates/gateway/tools/operations.py, on a machine with botocore installed. The output is committed.
"""

import gzip
import json
import pathlib

import botocore

MODELS = pathlib.Path(botocore.__file__).parent / "data"
OUTPUT = pathlib.Path(__file__).parent.parent / "src" / "aws"

HEAD = """//! Every operation of {title}, served or not, so that one that is not served is refused by its name.
//!
//! Written by `tools/operations.py` from botocore {version}; do not edit.

"""


def model(service, version):
    folder = MODELS / service / version
    plain, packed = folder / "service-2.json", folder / "service-2.json.gz"
    return json.loads(plain.read_text() if plain.exists() else gzip.decompress(packed.read_bytes()))


def segments(path):
    return ["*" if part.startswith("{") else part for part in path.split("/") if part]


def order(row):
    """Literals before placeholders and paths with a query first, so that the first match is the right one."""
    return row["query"] is None, [part == "*" for part in row["segments"]], row["segments"], row["method"]


def head(title):
    return HEAD.format(title=title, version=botocore.__version__)


def routes(title, service):
    """Operations told apart by method and path."""
    rows = []
    for name, operation in service["operations"].items():
        path, _, query = operation["http"]["requestUri"].partition("?")
        rows.append({"name": name, "method": operation["http"]["method"], "segments": segments(path), "query": query or None})
    rows.sort(key=order)
    text = head(title) + "use crate::aws::routes::Operation;\n\n"
    text += "/// All of them; the first that matches a request is the right one.\n#[rustfmt::skip]\npub const OPERATIONS: &[Operation] = &[\n"
    for row in rows:
        query = f'Some("{row["query"]}")' if row["query"] else "None"
        parts = ", ".join(f'"{part}"' for part in row["segments"])
        text += f'    Operation {{ name: "{row["name"]}", method: "{row["method"]}", segments: &[{parts}], query: {query} }},\n'
    return text + "];\n"


def names(title, service):
    """Operations told apart by their name."""
    text = head(title) + "/// All of them.\npub const NAMES: &[&str] = &[\n"
    return text + "".join(f'    "{name}",\n' for name in sorted(service["operations"])) + "];\n"


def runtimes(service):
    text = "\n/// Runtimes that Lambda has or had.\n#[rustfmt::skip]\npub const RUNTIMES: &[&str] = &[\n"
    return text + "".join(f'    "{runtime}",\n' for runtime in sorted(service["shapes"]["Runtime"]["enum"])) + "];\n"


def main():
    functions = model("lambda", "2015-03-31")
    (OUTPUT / "lambda/operations.rs").write_text(routes("the Lambda API", functions) + runtimes(functions))
    apis = model("apigateway", "2015-07-09")
    (OUTPUT / "apigateway/operations.rs").write_text(routes("API Gateway's REST API interface", apis))
    http_apis = model("apigatewayv2", "2018-11-29")
    (OUTPUT / "apigatewayv2/operations.rs").write_text(routes("API Gateway's HTTP API interface", http_apis))
    (OUTPUT / "dynamodb/operations.rs").write_text(names("DynamoDB", model("dynamodb", "2012-08-10")))
    (OUTPUT / "iam/operations.rs").write_text(names("IAM", model("iam", "2010-05-08")))
    schedules = model("scheduler", "2021-06-30")
    (OUTPUT / "scheduler/operations.rs").write_text(routes("EventBridge Scheduler", schedules))
    (OUTPUT / "sns/operations.rs").write_text(names("SNS", model("sns", "2010-03-31")))


if __name__ == "__main__":
    main()
