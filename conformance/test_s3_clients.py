"""S3 with the programs that people have: the AWS CLI, pandas and pyarrow. (s3fs: `test_s3fs.py`.)"""

import filecmp
import os
import pathlib
import subprocess
import sys
import uuid

import pandas
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from conftest import make_client

# Version 2 where it is installed, else version 1.
PROGRAM = next(path for path in [pathlib.Path("/usr/bin/aws"), pathlib.Path(sys.executable).parent / "aws"] if path.exists())


@pytest.fixture(scope="module")
def bucket():
    """A bucket for the tests of this file, removed with all that is in it."""
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    make_client("s3").create_bucket(Bucket=name)
    yield name
    run_aws("rb", "--force", f"s3://{name}")


@pytest.fixture
def aws():
    return run_aws


def run_aws(*arguments):
    """What `aws s3` prints."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    command = [PROGRAM, "--endpoint-url", endpoint, "s3", *arguments]
    environment = {**os.environ, "AWS_PAGER": "", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def table():
    return pandas.DataFrame({"n": range(200_000), "word": ["a", "ü", "", "long" * 9] * 50_000})


@pytest.fixture(scope="module")
def filesystem():
    scheme, _, address = os.environ["AWS_ENDPOINT_URL"].partition("://")
    # Keys come from the environment.
    return pyarrow.fs.S3FileSystem(endpoint_override=address, scheme=scheme, region="us-east-1")


def test_the_aws_cli_copies_syncs_lists_and_removes(aws, bucket, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    (source / "deep/er").mkdir(parents=True)
    (source / "small ü+.txt").write_text("small")
    (source / "empty").write_bytes(b"")
    # More than the CLI sends in one piece.
    (source / "deep/er/large").write_bytes(os.urandom(20 << 20))
    # Made some time ago: S3 tells times in whole seconds, and the CLI sends a file that is newer than its object.
    for path in source.rglob("*"):
        os.utime(path, (1e9, 1e9))
    aws("sync", source, f"s3://{bucket}/tree")
    assert "small ü+.txt" in aws("ls", "--recursive", f"s3://{bucket}/tree/")
    assert "PRE deep/" in aws("ls", f"s3://{bucket}/tree/")
    assert aws("sync", source, f"s3://{bucket}/tree") == "", "a second time there is nothing to do"
    aws("sync", f"s3://{bucket}/tree", back)
    for name in ["small ü+.txt", "empty", "deep/er/large"]:
        assert filecmp.cmp(source / name, back / name, shallow=False), name
    (source / "empty").unlink()
    assert "delete" in aws("sync", "--delete", source, f"s3://{bucket}/tree")
    aws("cp", f"s3://{bucket}/tree/deep/er/large", f"s3://{bucket}/copy")
    aws("cp", f"s3://{bucket}/copy", tmp_path / "copy")
    assert filecmp.cmp(source / "deep/er/large", tmp_path / "copy", shallow=False)
    aws("mv", f"s3://{bucket}/copy", f"s3://{bucket}/tree/moved")
    aws("mb", f"s3://{bucket}-2")
    assert f"{bucket}-2" in aws("ls")
    aws("rb", f"s3://{bucket}-2")
    aws("rm", "--recursive", f"s3://{bucket}/tree")
    assert f"{bucket}/" not in aws("ls", "--recursive", f"s3://{bucket}/")


def test_pyarrow_writes_and_reads(filesystem, bucket, table):
    whole = pyarrow.Table.from_pandas(table)
    pyarrow.parquet.write_table(whole, f"{bucket}/arrow/one.parquet", filesystem=filesystem, row_group_size=20_000)
    assert pyarrow.parquet.read_table(f"{bucket}/arrow/one.parquet", filesystem=filesystem, columns=["n"]).num_rows == 200_000
    pyarrow.dataset.write_dataset(
        whole, f"{bucket}/set", filesystem=filesystem, format="parquet", partitioning=["word"],
        existing_data_behavior="overwrite_or_ignore",
    )
    dataset = pyarrow.dataset.dataset(f"{bucket}/set", filesystem=filesystem, format="parquet", partitioning=["word"])
    assert dataset.count_rows(filter=pyarrow.dataset.field("word") == "a") == 50_000
    names = [entry.base_name for entry in filesystem.get_file_info(pyarrow.fs.FileSelector(f"{bucket}/arrow"))]
    assert names == ["one.parquet"]
    filesystem.delete_dir(f"{bucket}/set")
    assert filesystem.get_file_info(f"{bucket}/set").type == pyarrow.fs.FileType.NotFound


def test_pandas_writes_and_reads(filesystem, bucket, table):
    table.to_parquet(f"{bucket}/pandas.parquet", filesystem=filesystem)
    assert pandas.read_parquet(f"{bucket}/pandas.parquet", filesystem=filesystem).equals(table)
    with filesystem.open_output_stream(f"{bucket}/pandas.csv") as out:
        table.to_csv(out, index=False)
    with filesystem.open_input_stream(f"{bucket}/pandas.csv") as source:
        assert pandas.read_csv(source, keep_default_na=False).equals(table)
