"""The rows of the object store: writing and reading objects with eight clients, against other servers and bare files."""

import contextlib
import pathlib
import subprocess
import tempfile
import time

import cloud
import peers
import tools
from rows import Row, median

CLIENTS = 8
BUCKET = "bench"
# Signed in the query, the body not part of it: any client can send it.
PRESIGNED = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"}
DEADLINE_S = 60
BUDGET_S = 60


def objects(effort):
    """Rounds of new objects, written and read: a few large ones, many small ones."""
    full = effort.rounds > 2
    sizes = [("64 MB", 64 << 20, 16 if full else 8), ("4 KB", 4096, 2000 if full else 100)]
    runs, failed = {}, {}
    end = time.monotonic() + BUDGET_S
    with cloud.server() as running, contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dayfly-bench-")))
        sides = {"ours": Store(running.address, running.server.client("s3", **PRESIGNED), folder), "files": Files(folder)}
        for name, other in (("s3s-fs", s3s), ("moto", moto)):
            try:
                sides[name] = stack.enter_context(other(folder))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                tools.say(f"{name} failed: {error!r}")
                failed[name] = repr(error)
        for number in range(effort.rounds // 2 + 1):
            if number and time.monotonic() > end:
                break
            for name, size, count in sizes:
                for side in [one for one in sides if one not in failed]:
                    try:
                        for verb, run in sides[side].round(number, size, count):
                            runs.setdefault((verb, name, side), []).append(run)
                    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                        if side == "ours":
                            raise
                        tools.say(f"{side} failed: {error!r}")
                        failed[side] = repr(error)
    return [row(verb, name, count, size, runs, failed) for name, size, count in sizes for verb in ("PUT", "GET")]


def row(verb, name, count, size, runs, failed):
    """One row: ours, and all others in one cell."""

    def figure(side):
        rate = median(run["per_second"] for run in runs[verb, name, side])
        return f"{rate * size / 1e6:,.0f} MB/s" if size > 1 << 20 else f"{rate:,.0f}/s"

    def against(side):
        both = zip(runs[verb, name, "ours"], runs[verb, name, side])
        return median(a["per_second"] / b["per_second"] for a, b in both)

    version = tools.versions_of_jobs()["moto"]
    titles = {
        "s3s-fs": f"s3s-fs {tools.S3S_VERSION} (does not sync)",
        "moto": f"moto {version} (keeps, but does not sync)",
        "files": "bare files, synced and renamed",
    }
    there = [side for side in titles if side not in failed]
    theirs = [f"{figure(side)} {side}" for side in there] + [f"{side} failed" for side in titles if side in failed]
    ratio = "; ".join(f"{against(side):.2f}× {side}" for side in there) or "–"
    what = f"{verb} of {count:,} objects of {name}, {CLIENTS} clients"
    details = {"failed": failed, **{side: runs.get((verb, name, side)) for side in ("ours", *titles)}}
    return Row(what, "; ".join(titles.values()), figure("ours"), "; ".join(theirs), ratio, "–", None, details)


class Store:
    """An S3 server."""

    def __init__(self, address, client, folder):
        self.address = address
        self.client = client
        self.folder = folder
        client.create_bucket(Bucket=BUCKET)

    def round(self, number, size, count):
        """Writes and reads `count` objects, then deletes them; yields a verb and its figures."""
        keys = [f"{number}/{size}/{one}" for one in range(count)]
        for verb, operation in (("PUT", "put_object"), ("GET", "get_object")):
            urls = [self.client.generate_presigned_url(operation, {"Bucket": BUCKET, "Key": key}) for key in keys]
            targets = self.folder / "targets"
            targets.write_text("\n".join(url.split(self.address, 1)[1] for url in urls))
            yield verb, without_errors("objects", self.address, targets, verb, size, CLIENTS)
        for begin in range(0, count, 1000):
            some = [{"Key": key} for key in keys[begin : begin + 1000]]
            self.client.delete_objects(Bucket=BUCKET, Delete={"Objects": some})


class Files:
    """No server: the least that durable objects can cost."""

    def __init__(self, folder):
        self.folder = folder

    def round(self, number, size, count):
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            for verb in ("PUT", "GET"):
                yield verb, without_errors("files", folder, verb, size, CLIENTS, count)


def without_errors(*arguments):
    """What the load generator found; an error is one of the row."""
    found = tools.output_of([tools.LOAD, *arguments], DEADLINE_S)
    if found["errors"]:
        raise RuntimeError(f"{found['errors']} errors, the first: {found['first_error']}")
    return found


def moto(folder):
    """moto's server."""
    return other(folder, peers.moto)


def s3s(folder):
    """The server that comes with s3s, over a folder of its own."""
    program, root = tools.s3s_fs(), folder / "s3s-fs"
    root.mkdir()
    keys = ["--access-key", "bench", "--secret-key", "bench"]
    return other(folder, lambda port: [program, "--host", "127.0.0.1", "--port", port, *keys, root])


@contextlib.contextmanager
def other(folder, command_of):
    """Another server."""
    with peers.serving(folder, command_of) as address:
        yield Store(address, peers.client("s3", address, **PRESIGNED), folder)
