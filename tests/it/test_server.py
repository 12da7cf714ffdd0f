"""The server as a process: start, second start, restart, drain, kill."""

import json
import os
import signal
import stat
import subprocess
import threading
import time

import harness


def test_the_first_start_makes_an_account_that_only_the_owner_can_read(folder):
    with harness.Server(folder) as server:
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(folder / "credentials.json").st_mode) == 0o600
        assert server.keys["account"] == "000000000000"
        assert server.keys["access_key_id"].startswith("AKIA") and len(server.keys["secret_access_key"]) == 40
        told = json.loads((folder / "server.json").read_text())
        assert (told["pid"], told["endpoint"]) == (server.pid, server.endpoint)
        assert server.client("sts").get_caller_identity()["Account"] == "000000000000"
        assert server.stop() == 0
        assert not (folder / "server.json").exists()
    assert server.leftovers() == {}


def test_a_second_server_on_the_same_folder_is_refused(server):
    result = subprocess.run(
        [harness.BINARY, "serve", "--data", server.folder, "--listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=20,
    )
    assert result.returncode == 1 and result.stdout == ""
    assert str(server.pid) in result.stderr and server.endpoint in result.stderr
    assert server.client().list_functions()["Functions"] == []


def test_a_port_in_use_is_said_and_the_folder_is_free_again(server, folder):
    address = server.endpoint.removeprefix("http://")
    result = subprocess.run(
        [harness.BINARY, "serve", "--data", folder, "--listen", address], capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 1 and address in result.stderr
    with harness.Server(folder):
        pass


def test_everything_is_found_again_after_a_restart(folder):
    with harness.Server(folder) as server:
        made = server.create("kept", "def handler(event, context):\n    return 'kept'\n", Tags={"a": "b"})
        server.stop()
    with harness.Server(folder) as again:
        got = again.client().get_function(FunctionName="kept")
        assert got["Configuration"]["CodeSha256"] == made["CodeSha256"] and got["Tags"] == {"a": "b"}
        assert again.keys == server.keys
        assert again.invoke("kept")[1] == "kept"
        assert again.stop() == 0
    assert again.leftovers() == {}


def test_a_drain_lets_running_calls_finish_and_takes_no_new_ones(folder):
    source = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'finished'\n"
    with harness.Server(folder) as server:
        server.create("slow", source, Timeout=20)
        server.invoke("slow", 0)
        results = []
        call = threading.Thread(target=lambda: results.append(server.invoke("slow", 2)))
        call.start()
        time.sleep(0.5)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        call.join(20)
        assert server.process.wait(20) == 0
        assert results[0][1] == "finished"
        assert time.monotonic() - started < 10
    assert server.leftovers() == {}


def test_a_second_signal_ends_what_runs(folder):
    source = "import time\ndef handler(event, context):\n    time.sleep(event)\n"
    with harness.Server(folder) as server:
        server.create("slow", source, Timeout=60)
        server.invoke("slow", 0)
        call = threading.Thread(target=ignore_errors(lambda: server.invoke("slow", 50)))
        call.start()
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None, "the first signal waits for the call"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        call.join(10)
    assert server.leftovers() == {}


def test_after_a_kill_the_next_start_reaps_what_was_left(folder):
    source = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'alive'\n"
    with harness.Server(folder) as server:
        before = server.before
        server.create("slow", source, Timeout=60)
        server.invoke("slow", 0)
        call = threading.Thread(target=ignore_errors(lambda: server.invoke("slow", 50)))
        call.start()
        time.sleep(0.5)
        server.kill()
        call.join(10)
    with harness.Server(folder) as again:
        assert again.invoke("slow", 0)[1] == "alive"
        assert again.stop() == 0
    again.before = before
    assert again.leftovers() == {}


def test_a_bad_configuration_is_refused_with_its_line(folder):
    folder.mkdir()
    (folder / "config.toml").write_text("[limits]\nmemory = 1\n")
    result = subprocess.run(
        [harness.BINARY, "serve", "--data", folder, "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 1 and "config.toml:2: unknown field `memory`" in result.stderr


def test_limits_of_the_configuration_hold(folder):
    with harness.Server(folder, config="[limits]\nmemory_mb_max = 256\n") as server:
        client = server.client()
        try:
            server.create("big", "", MemorySize=257)
        except client.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] in ("InvalidParameterValueException", "ValidationException")
        else:
            raise AssertionError("257 MB were taken")


def ignore_errors(call):
    def run():
        try:
            call()
        except Exception:  # noqa: BLE001  (the server goes away under it; how is not the point)
            pass

    return run
