"""The verbs of the binary, from deploy to bill."""

import json
import subprocess

import harness

SOURCE = "def handler(event, context):\n    print('hello log')\n    return {'hello': event.get('name')}\n"


def test_a_function_from_deploy_to_rm(server, tmp_path):
    code = tmp_path / "greet"
    code.mkdir()
    (code / "main.py").write_text(SOURCE)
    deployed = server.cli("deploy", code, "--memory", "192", "--env", "KEY=1", "--tag", "team=web")
    assert deployed.stdout.strip() == "arn:aws:lambda:us-east-1:000000000000:function:greet"
    assert "dayfly invoke" in deployed.stderr

    called = server.cli("invoke", "greet", '{"name": "Ada"}', "--log")
    assert json.loads(called.stdout) == {"hello": "Ada"}
    assert "hello log" in called.stderr and "REPORT RequestId" in called.stderr
    assert json.loads(server.cli("invoke", "greet", "-", input='{"name": "Bo"}').stdout) == {"hello": "Bo"}
    (tmp_path / "event.json").write_text('{"name": "Cy"}')
    assert json.loads(server.cli("invoke", "greet", f"@{tmp_path / 'event.json'}").stdout) == {"hello": "Cy"}

    (code / "main.py").write_text(SOURCE.replace("hello", "bye"))
    server.cli("deploy", code)
    assert json.loads(server.cli("invoke", "greet").stdout) == {"bye": None}
    listed = json.loads(server.cli("ls", "--json").stdout)
    assert [(f["FunctionName"], f["MemorySize"]) for f in listed] == [("greet", 192)]
    assert listed[0]["Environment"]["Variables"] == {"KEY": "1"}
    assert "greet" in server.cli("ls").stdout

    server.cli("invoke", "greet", "--async")
    lines = harness.wait_until(
        lambda: (text := server.cli("logs", "greet").stdout).count("REPORT") == 5 and text, what="five reports"
    )
    assert lines.count("hello log") == 3 and lines.count("bye log") == 2
    assert server.cli("logs", "greet", "--filter", '"bye log"').stdout.count("\n") == 2

    bill = harness.wait_until(
        lambda: (bill := json.loads(server.cli("bill", "--json").stdout))["total"]["requests"] >= 5 and bill, what="5 calls"
    )
    assert bill["total"]["requests"] == 5 and bill["total"]["errors"] == 0
    assert bill["total"]["mb_ms"] == bill["total"]["billed_ms"] * 192 > 0
    assert json.loads(server.cli("bill", "--by", "tag:team", "--json").stdout)["rows"][0]["name"] == "web"
    assert json.loads(server.cli("bill", "--by", "day", "--json").stdout)["total"]["requests"] == 5
    assert "total" in server.cli("bill").stdout

    assert server.cli("rm", "greet").stdout == "deleted greet\n"
    assert server.cli("rm", "greet", check=False).returncode == 1
    assert json.loads(server.cli("ls", "--json").stdout) == []


def test_a_function_error_makes_invoke_fail(server, tmp_path):
    (tmp_path / "bad.py").write_text("def handler(event, context):\n    raise ValueError('no')\n")
    server.cli("deploy", tmp_path / "bad.py")
    result = server.cli("invoke", "bad", check=False)
    assert result.returncode == 1 and json.loads(result.stdout)["errorType"] == "ValueError"
    assert "ValueError" in result.stderr
    server.cli("rm", "bad")


def test_mistakes_are_explained(server, tmp_path):
    nothing = tmp_path / "nothing.py"
    nothing.write_text("x = 1\n")
    result = server.cli("deploy", nothing, check=False)
    assert result.returncode == 2 and "--handler" in result.stderr
    assert server.cli("invoke", "x", "not json", check=False).returncode == 2
    result = server.cli("invoke", "missing", check=False)
    assert result.returncode == 1 and "ResourceNotFoundException" in result.stderr
    stopped = subprocess.run(
        [harness.BINARY, "ls", "--data", tmp_path / "none"], capture_output=True, text=True, timeout=20
    )
    assert stopped.returncode == 1 and "dayfly serve" in stopped.stderr


def test_env_speaks_to_shells(server):
    text = server.cli("env").stdout
    shown = subprocess.run(
        ["sh", "-c", text + "env"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=20
    ).stdout
    for name, value in server.variables().items():
        assert f"{name}={value}\n" in shown
    assert server.cli("env", "--shell", "fish").stdout.startswith("set -gx AWS_ENDPOINT_URL ")


def test_completions_and_doctor():
    for shell in ("bash", "zsh", "fish"):
        script = subprocess.run([harness.BINARY, "completions", shell], capture_output=True, text=True, timeout=20)
        assert script.returncode == 0 and "invoke" in script.stdout
    result = subprocess.run([harness.BINARY, "doctor", "--json"], capture_output=True, text=True, timeout=60)
    report = json.loads(result.stdout)
    assert report["can_run"] == (result.returncode == 0)
    assert {"name", "status", "detail", "consequence"} == set(report["checks"][0])


def test_the_demo_runs_and_leaves_nothing():
    result = subprocess.run(
        [harness.BINARY, "demo", "--calls", "5"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("calls_seen_by_this_instance\":1") + result.stdout.count(
        'calls_seen_by_this_instance": 1'
    ) == 5
