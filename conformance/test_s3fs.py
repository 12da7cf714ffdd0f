"""S3 with s3fs, and with pandas through it, as people use them: by `s3://` addresses, configured by the environment alone.

s3fs asks for a botocore older than boto3's here, so it is installed beside it and runs in a process of its own: this file,
started as a program.
"""

import os
import pathlib
import subprocess
import sys
import uuid

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with s3fs and what it needs."""
    folder = tmp_path_factory.mktemp("s3fs")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder]
    subprocess.run([*install, "-r", HERE / "requirements-s3fs.txt"], check=True, timeout=300, stdin=subprocess.DEVNULL)
    return folder


def test_s3fs_and_fsspec_write_and_read(packages):
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    done = subprocess.run(
        [sys.executable, __file__, name],
        env={**os.environ, "PYTHONPATH": str(packages), "DAYFLY_S3FS": str(packages)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def program(bucket):
    """Buckets, whole files and parts of them, lists, copies, tags and moves; then tables of pandas."""
    import fsspec
    import pandas
    import s3fs

    assert s3fs.__file__.startswith(os.environ["DAYFLY_S3FS"])
    files = fsspec.filesystem("s3")
    files.mkdir(bucket)
    assert bucket in files.ls("")
    files.pipe(f"{bucket}/a/small", b"small", ContentType="text/x-test", Metadata={"who": "me"})
    assert files.cat(f"{bucket}/a/small") == b"small" and files.info(f"{bucket}/a/small")["ContentType"] == "text/x-test"
    assert files.metadata(f"{bucket}/a/small")["who"] == "me"
    files.put_tags(f"{bucket}/a/small", {"kind": "x y"})
    assert files.get_tags(f"{bucket}/a/small") == {"kind": "x y"}
    with files.open(f"{bucket}/a/text", "w") as out:
        out.write("one\ntwo\n")
    with fsspec.open(f"s3://{bucket}/a/text", "r") as source:
        assert source.readlines() == ["one\n", "two\n"]
    # In parts, and from the middle.
    large = os.urandom(30 << 20)
    with files.open(f"{bucket}/b/large", "wb", block_size=6 << 20) as out:
        out.write(large)
    with files.open(f"{bucket}/b/large", "rb", block_size=1 << 20) as source:
        source.seek(7 << 20)
        assert source.read(3 << 20) == large[7 << 20 : 10 << 20]
    assert files.cat_file(f"{bucket}/b/large", start=5, end=9) == large[5:9]
    assert files.find(bucket) == [f"{bucket}/a/small", f"{bucket}/a/text", f"{bucket}/b/large"]
    assert sorted(files.ls(bucket, detail=False)) == [f"{bucket}/a", f"{bucket}/b"]
    assert files.glob(f"{bucket}/*/s*") == [f"{bucket}/a/small"] and files.du(bucket) == (30 << 20) + 13
    files.copy(f"{bucket}/b/large", f"{bucket}/b/again")
    assert files.checksum(f"{bucket}/b/again") and files.cat(f"{bucket}/b/again") == large
    files.mv(f"{bucket}/a/text", f"{bucket}/c/moved")
    assert not files.exists(f"{bucket}/a/text") and files.exists(f"{bucket}/c/moved")
    for missing in (lambda: files.cat(f"{bucket}/none"), lambda: files.open(f"{bucket}/none", "rb").read()):
        try:
            missing()
        except FileNotFoundError:
            continue
        raise AssertionError("it is not there")
    with fsspec.open(files.sign(f"s3://{bucket}/a/small"), "rb") as source:
        assert source.read() == b"small"
    table = pandas.DataFrame({"n": range(50_000), "word": ["a", "ü", "", "long" * 9] * 12_500})
    table.to_parquet(f"s3://{bucket}/t/table.parquet")
    assert pandas.read_parquet(f"s3://{bucket}/t/table.parquet").equals(table)
    table.to_csv(f"s3://{bucket}/t/table.csv", index=False)
    assert pandas.read_csv(f"s3://{bucket}/t/table.csv", keep_default_na=False).equals(table)
    files.rm(bucket, recursive=True)
    assert not files.exists(f"s3://{bucket}")
    print("fine")


if __name__ == "__main__":
    program(sys.argv[1])
