"""Deploys the thumbnailer, puts pictures into its bucket, and waits for their thumbnails.

Without AWS_ENDPOINT_URL a server of its own is started on a temporary folder. Needs boto3 and Pillow.
"""

import argparse
import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import uuid

import boto3
from PIL import Image

HERE = pathlib.Path(__file__).parent
PICTURES = sorted((HERE.parents[1] / "docs" / "examples").glob("*.png"))
SIZES = [64, 256]
WAIT_S = 120


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=pathlib.Path, default=PICTURES, help="default: those of Dayfly's own pages")
    parser.add_argument("--dayfly", default=os.environ.get("DAYFLY_BIN", "dayfly"), help="the command")
    parser.add_argument("--into", type=pathlib.Path, help="a folder for the thumbnails")
    arguments = parser.parse_args()
    with server(arguments.dayfly) as variables:
        os.environ.update(variables)
        # app.py is read with the python3 of the path, which needs boto3 as well.
        os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
        os.environ["THUMBNAILER_NAME"] = name = f"thumbnailer-{uuid.uuid4().hex[:6]}"
        try:
            subprocess.run([arguments.dayfly, "deploy", HERE, "--json"], check=True, stdout=subprocess.DEVNULL)
            run(arguments, name)
        finally:
            subprocess.run([arguments.dayfly, "destroy", "--name", name, "--yes"], stdout=subprocess.DEVNULL)


def run(arguments, name):
    s3, bucket = boto3.client("s3"), f"{name}-pictures"
    started = time.monotonic()
    for picture in arguments.pictures:
        s3.put_object(Bucket=bucket, Key=f"in/{picture.name}", Body=picture.read_bytes())
    for picture in arguments.pictures:
        with Image.open(picture) as image:
            size = image.size
        for longest in SIZES:
            content = fetch(s3, bucket, f"thumbnails/{longest}/{picture.stem}.jpg")
            small = Image.open(io.BytesIO(content))
            small.load()
            # As large as it may be, and the shape of the original to the pixel.
            scale = min(longest / max(size), 1)
            expected = [side * scale for side in size]
            assert small.format == "JPEG" and max(small.size) == round(max(expected)), small
            assert all(abs(side - wanted) <= 1 for side, wanted in zip(small.size, expected)), (small.size, expected)
            if arguments.into:
                arguments.into.mkdir(exist_ok=True)
                (arguments.into / f"{picture.stem}-{longest}.jpg").write_bytes(content)
            print(f"{picture.name}: {size[0]}x{size[1]} -> {small.width}x{small.height}, {len(content):,} bytes")
    print(f"{len(arguments.pictures) * len(SIZES)} thumbnails of {len(arguments.pictures)} pictures, {time.monotonic() - started:.2f} s")


def fetch(s3, bucket, key):
    """An object, once it is there."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            if time.monotonic() > deadline:
                sys.exit(f"{key} did not come")
            time.sleep(0.05)


@contextlib.contextmanager
def server(command):
    """The server that AWS_ENDPOINT_URL names, or one on a temporary folder; gives the variables that lead to it."""
    if "AWS_ENDPOINT_URL" in os.environ:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        serve = [command, "serve", "--data", data, "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        try:
            if "listening" not in process.stdout.readline():
                sys.exit("the server did not start; `dayfly doctor` tells what is missing")
            lines = subprocess.run([command, "env", "--data", data], capture_output=True, text=True, check=True).stdout
            yield dict(re.findall(r"export (\w+)='?([^'\n]*)'?", lines))
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
