"""How the server is found, and what is said when there is none."""

import json
import os
import socket
import stat
import sys
import threading

import pytest

from dayfly import NoServer, connection, embedded, environment


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("AWS_", "DAYFLY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAYFLY_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def program(path, text):
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def test_an_endpoint_and_keys_are_used(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:1/")
    assert connection.find() == connection.Endpoint("http://one:1", ("A", "b", None, "eu-west-1"))
    monkeypatch.setenv("DAYFLY_ENDPOINT", "http://two:2")
    assert connection.find().url == "http://two:2"
    assert connection.find("https://three").url == "https://three"
    head = connection.find("http://h:1/base").head("POST", "/jobs", {"content-type": "x"}).decode()
    assert head.startswith("POST /base/jobs HTTP/1.1\r\n") and "Credential=A/" in head and "/dayfly/aws4_request" in head


def test_an_endpoint_without_keys_is_refused(monkeypatch):
    with pytest.raises(NoServer, match="AWS_ACCESS_KEY_ID"):
        connection.find("http://one:1")
    with pytest.raises(NoServer, match="not an endpoint"):
        connection.find("one:1")


def test_keys_without_an_endpoint_mean_this_users_server(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://somewhere:1")
    monkeypatch.setattr(embedded, "ensure", lambda folder: folder + "/dayfly.sock")
    assert connection.find().path == connection.data_folder() + "/dayfly.sock"


def test_the_endpoint_of_this_users_server_means_its_socket(nothing_set):
    nothing_set.mkdir()
    (nothing_set / "server.json").write_text(json.dumps({"pid": 1, "endpoint": "http://127.0.0.1:9", "region": "r"}))
    (nothing_set / "credentials.json").write_text(json.dumps({"access_key_id": "A", "secret_access_key": "b"}))
    with pytest.raises(NoServer):
        connection.find("http://127.0.0.1:9")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(nothing_set / "dayfly.sock"))
        listener.listen()
        found = connection.find("http://127.0.0.1:9")
        assert found.path == str(nothing_set / "dayfly.sock")
        assert (found.store().endpoint, found.store().keys.access) == ("http://127.0.0.1:9", "A")
        with pytest.raises(NoServer):
            connection.find("http://127.0.0.1:8")


def test_a_socket_with_a_long_path_is_reached(tmp_path):
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    short = os.open(folder, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{short}/dayfly.sock")
    listener.listen()
    connection.connect_file(str(folder / "dayfly.sock")).close()
    listener.close()
    os.close(short)


def test_without_a_program_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda *_: "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoServer, match="DAYFLY_BIN"):
        connection.find()


def test_a_server_that_does_not_start_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("DAYFLY_BIN", program(tmp_path / "dayfly", "import sys; sys.exit('dayfly: no cgroups here')"))
    with pytest.raises(NoServer, match="no cgroups here"):
        connection.find()
    with pytest.raises(NoServer, match="(?s)ended with 1.*no cgroups here"):
        connection.find()
    monkeypatch.setenv("DAYFLY_BIN", str(tmp_path / "missing"))
    with pytest.raises(NoServer, match="cannot be started"):
        connection.find()


SERVER = """
import fcntl, os, socket, sys, time
arguments = sys.argv
folder = arguments[arguments.index("--data") + 1]
lock = open(folder + "/lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(f"dayfly: another server uses {folder}")
open(folder + "/arguments", "a").write(repr(arguments[1:]) + chr(10))
time.sleep(0.3)
listener = socket.socket(socket.AF_UNIX)
listener.bind(folder + "/dayfly.sock")
listener.listen(100)
listener.settimeout(3)
try:
    while True:
        listener.accept()[0].close()
except OSError:
    pass
"""


def test_programs_that_start_a_server_at_the_same_time_share_it(monkeypatch, tmp_path, nothing_set):
    monkeypatch.setenv("DAYFLY_BIN", program(tmp_path / "dayfly", SERVER))
    found, failed = [], []

    def find():
        try:
            found.append(connection.find().path)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=find) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and set(found) == {str(nothing_set / "dayfly.sock")}
    assert stat.S_IMODE(nothing_set.stat().st_mode) == 0o700
    lines = (nothing_set / "arguments").read_text().splitlines()
    assert len(lines) == 1 and "'--exit-when-idle', '60'" in lines[0] and "'127.0.0.1:0'" in lines[0]
    for process in embedded._started:
        process.wait(20)


def test_the_local_environment_is_absolute_and_readable(monkeypatch, tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "path", ["", str(private), "/no/such", str(tmp_path / ".." / tmp_path.name), *sys.path, sys.path[-1]])
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.chdir("/usr")
    wire = environment.Environment.local().wire()
    assert wire["path"][0] == "/usr" and str(private) not in wire["path"] and "/no/such" not in wire["path"]
    assert len(set(wire["path"])) == len(wire["path"]) and all(os.path.isabs(path) for path in wire["path"])
    assert wire["executable"] == sys.executable
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert str(private) in environment.Environment.local().wire()["path"]
    assert environment.runtime() == f"python3.{sys.version_info.minor}"
