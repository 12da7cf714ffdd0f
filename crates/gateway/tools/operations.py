"""Writes src/aws/lambda/operations.rs: every operation of the Lambda API, and the runtimes it knows.

Usage: python3 crates/gateway/tools/operations.py, on a machine with botocore installed. The output is committed.
"""

import gzip
import json
import pathlib

import botocore

FOLDER = pathlib.Path(botocore.__file__).parent / "data" / "lambda" / "2015-03-31"
OUTPUT = pathlib.Path(__file__).parent.parent / "src" / "aws" / "lambda" / "operations.rs"

HEAD = '''//! Every operation of the Lambda API, served or not, so that one that is not served is refused by its name.
//!
//! Written by `tools/operations.py` from botocore {version}; do not edit.

/// An operation: method, path as segments (`*` takes any), and a query parameter that tells it from its neighbours.
#[derive(Debug)]
pub struct Operation {{
    /// Its name.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// The path between slashes.
    pub segments: &'static [&'static str],
    /// `name=value` that the query must have.
    pub query: Option<&'static str>,
}}

'''


def model():
    plain, packed = FOLDER / "service-2.json", FOLDER / "service-2.json.gz"
    return json.loads(plain.read_text() if plain.exists() else gzip.decompress(packed.read_bytes()))


def segments(path):
    return ["*" if part.startswith("{") else part for part in path.split("/") if part]


def order(row):
    """Literals before placeholders and paths with a query first, so that the first match is the right one."""
    return row["query"] is None, [part == "*" for part in row["segments"]], row["segments"], row["method"]


def main():
    service = model()
    rows = []
    for name, operation in service["operations"].items():
        path, _, query = operation["http"]["requestUri"].partition("?")
        rows.append({"name": name, "method": operation["http"]["method"], "segments": segments(path), "query": query or None})
    rows.sort(key=order)
    text = HEAD.format(version=botocore.__version__)
    text += "/// All of them; the first that matches a request is the right one.\n#[rustfmt::skip]\npub const OPERATIONS: &[Operation] = &[\n"
    for row in rows:
        query = f'Some("{row["query"]}")' if row["query"] else "None"
        parts = ", ".join(f'"{part}"' for part in row["segments"])
        text += f'    Operation {{ name: "{row["name"]}", method: "{row["method"]}", segments: &[{parts}], query: {query} }},\n'
    text += "];\n\n/// Runtimes that Lambda has or had.\n#[rustfmt::skip]\npub const RUNTIMES: &[&str] = &[\n"
    for runtime in sorted(service["shapes"]["Runtime"]["enum"]):
        text += f'    "{runtime}",\n'
    OUTPUT.write_text(text + "];\n")


if __name__ == "__main__":
    main()
