"""Functions of any language: programs named `bootstrap` that speak the Runtime API, and Node's handlers."""

import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile

import harness
import pytest
from calls import call, together

# A custom runtime in the shell alone: one HTTP request per line of talk with the Runtime API.
SHELL = r"""
    #!/bin/bash
    ask() {  # METHOD PATH [BODY]: the answer with its head
        exec 9<>"/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}"
        printf '%s %s HTTP/1.1\r\nHost: runtime\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
            "$1" "/2018-06-01/runtime/$2" "${#3}" "$3" >&9
        cat <&9
        exec 9>&-
    }
    echo "init of $_HANDLER"
    while true; do
        answer=$(ask GET invocation/next)
        id=$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: \([^\r]*\).*/\1/Ip' <<<"$answer")
        event=$(tail -n 1 <<<"$answer")
        echo "asked $event"
        ask POST "invocation/$id/response" "{\"shell\": $event, \"pid\": $$, \"left\": $(ls /tmp | wc -l)}"
        touch /tmp/left
    done
"""


def zip_of(**files):
    """A package; `bootstrap` may be run."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name.replace("__", "."))
            entry.external_attr = (0o100755 if name == "bootstrap" else 0o100644) << 16
            archive.writestr(entry, textwrap.dedent(text).lstrip())
    return content.getvalue()


def create(server, name, runtime, package, **settings):
    client = server.client()
    client.create_function(
        FunctionName=name,
        Runtime=runtime,
        Role=harness.ROLE,
        Code={"ZipFile": package},
        **{"Handler": "index.handler", "MemorySize": 256, "Timeout": 20 * harness.SLOW, **settings},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600 * harness.SLOW})


@pytest.fixture(scope="module")
def node(server):
    """The Node runtime that the server has."""
    if shutil.which("node") is None:
        pytest.skip("no Node on this machine: scripts/setup.sh test installs it for root")
    with pytest.raises(server.client().exceptions.InvalidParameterValueException) as refused:
        create(server, "no-node", "nodejs8.10", zip_of(index__js="exports.handler = async () => 1;"))
    assert "nodejs" in str(refused.value)
    for major in (24, 22, 20, 18):
        try:
            create(server, "node-echo", f"nodejs{major}.x", zip_of(index__js="exports.handler = async (event) => event;"))
            return f"nodejs{major}.x"
        except server.client().exceptions.InvalidParameterValueException:
            continue
    pytest.fail("the machine has Node, and the server none")


def test_a_shell_script_is_a_function(server):
    create(server, "shell", "provided.al2023", zip_of(bootstrap=SHELL), Handler="any.name")
    made = together(lambda n: call(server, "shell", {"n": n}), range(8), threads=4)
    for n, one in enumerate(made):
        assert not one.failed, one
        assert one.payload["shell"] == {"n": n} and one.payload["left"] == 0
        assert "init of any.name" in one.own_lines() and f'asked {{"n": {n}}}' in one.own_lines()
    assert len({one.instance_id for one in made}) == 8


def test_what_runs_no_runtime_says_so(server):
    cases = {
        "no-bootstrap": (zip_of(other="x"), "Runtime.InvalidEntrypoint", "find valid bootstrap"),
        "ended-in-init": (zip_of(bootstrap="#!/bin/sh\necho no\nexit 3\n"), "Runtime.ExitError", "exit status 3"),
        "no-program": (zip_of(bootstrap="#!/no/such/interpreter\n"), "Runtime.InvalidEntrypoint", "No such file"),
    }
    for name, (package, kind, message) in cases.items():
        create(server, name, "provided.al2", package)
        error_type, text = call(server, name).error
        assert error_type == kind and message in text, (name, error_type, text)


def python_bootstrap(body):
    """A runtime in Python that has `ask(method, path, body, headers)`, and the first call as `id` and `event`."""
    return zip_of(
        bootstrap="""
        #!/var/lang/bin/python3
        import http.client, json, os, socket, sys, time
        api = os.environ["AWS_LAMBDA_RUNTIME_API"]
        def ask(method, path, body=None, headers={}):
            connection = http.client.HTTPConnection(api, timeout=10)
            connection.request(method, "/2018-06-01/runtime/" + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        _, head, event = ask("GET", "invocation/next")
        id = head["Lambda-Runtime-Aws-Request-Id"]
        """
        + body
    )


def test_runtimes_that_misbehave_get_errors_and_their_call_ends(server):
    cases = {
        # The errors that the API answers, collected into the result.
        "wrong-ids": """
        seen = [ask("POST", "invocation/%s/response" % other, b"1")[0] for other in ("x", id[:-1], "../" + id)]
        seen += [ask("POST", "init/error", b"{}")[0], ask("GET", "nonsense")[0], ask("PUT", "invocation/next")[0]]
        ask("POST", "invocation/%s/response" % id, json.dumps(seen))
        """,
        "garbage": """
        host, port = api.split(":")
        seen = []
        for text in (b"\\0" * 100 + b"\\r\\n\\r\\n", b"GET\\r\\n\\r\\n", b"POST / HTTP/1.1\\r\\nContent-Length: x\\r\\n\\r\\n"):
            garbage = socket.create_connection((host, int(port)))
            garbage.sendall(text)
            seen.append(garbage.recv(4096)[9:12].decode())
        ask("POST", "invocation/%s/response" % id, json.dumps(seen))
        """,
        "error": """
        ask("POST", "invocation/%s/error" % id, b'{"errorType": "Mine", "errorMessage": "no", "trace": []}')
        """,
        "untyped-error": """
        ask("POST", "invocation/%s/error" % id, b'not json', {"Lambda-Runtime-Function-Error-Type": "Their.Kind"})
        """,
        "gone": "os._exit(7)",
        "large": """
        try:
            ask("POST", "invocation/%s/response" % id, b"x" * (20 << 20))
        except OSError:
            time.sleep(10)
        """,
        "chunked": """
        ask("POST", "invocation/%s/response" % id, iter([b'{"parts"', b': 2', b'}']))
        """,
        "cut-off": """
        host, port = api.split(":")
        cut = socket.create_connection((host, int(port)))
        cut.sendall(b"POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\\r\\nContent-Length: 100\\r\\n\\r\\n{" % id.encode())
        cut.close()
        os._exit(0)
        """,
    }
    for name, body in cases.items():
        create(server, name, "provided.al2023", python_bootstrap(body))
    made = {name: call(server, name, {"name": name}) for name in cases}
    assert made["wrong-ids"].payload == [400, 400, 400, 403, 404, 404]
    assert made["garbage"].payload == ["400"] * 3
    assert made["error"].error == ("Mine", "no")
    assert made["untyped-error"].error[0] == "Their.Kind"
    assert made["gone"].error[0] == "Runtime.ExitError" and "exit status 7" in made["gone"].error[1]
    assert made["large"].error[0] == "Function.ResponseSizeTooLarge"
    assert made["chunked"].payload == {"parts": 2}
    assert made["cut-off"].error[0] == "Runtime.ExitError"


def test_other_instances_of_the_version_cannot_answer(server):
    """The instances of a version share a network: what listens there serves its own instance's processes alone."""
    create(
        server,
        "neighbours",
        "provided.al2023",
        python_bootstrap(
            """
        own, mine = int(api.split(":")[1]), json.loads(event)
        seen = []
        if mine == "attack":
            with open("/proc/net/tcp") as lines:
                ports = {int(line.split()[1].split(":")[1], 16) for line in lines if line.split()[3] == "0A"} - {own}
            for port in ports - {4566}:
                api = "127.0.0.1:%d" % port
                try:
                    seen.append(ask("GET", "invocation/next")[0])
                except OSError as error:
                    seen.append(type(error).__name__)
            api = "127.0.0.1:%d" % own
        else:
            time.sleep(2)
        ask("POST", "invocation/%s/response" % id, json.dumps(seen))
        """
        ),
    )
    made = together(lambda word: call(server, "neighbours", word), ["wait", "wait", "wait", "attack"], threads=4)
    assert [one.payload for one in made[:3]] == [[], [], []]
    assert made[3].payload and not any(isinstance(word, int) for word in made[3].payload), made[3].payload


def test_node_handlers_of_every_kind(server, node):
    sources = {
        "async": "exports.handler = async (event, context) => ({event, name: context.functionName, id: context.awsRequestId});",
        "callback": "exports.handler = (event, context, callback) => { setTimeout(() => callback(null, {late: event}), 20); };",
        "done": "exports.handler = (event, context) => { context.succeed('done'); };",
        "nothing": "exports.handler = () => {};",
        "undefined": "exports.handler = async () => undefined;",
        "streaming": """
            exports.handler = awslambda.streamifyResponse(async (event, stream) => {
                stream.write('{"streamed": '); stream.write(JSON.stringify(event)); stream.end('}');
            });
        """,
    }
    for name, source in sources.items():
        create(server, f"node-{name}", node, zip_of(index__js=source))
    create(server, "node-module", node, zip_of(index__mjs="export const handler = async (event) => `module ${event}`;"))
    made = call(server, "node-async", {"a": "ü"})
    assert made.payload == {"event": {"a": "ü"}, "name": "node-async", "id": made.request_id}
    assert call(server, "node-callback", 1).payload == {"late": 1}
    assert call(server, "node-done").payload == "done"
    assert call(server, "node-nothing").payload is None
    assert call(server, "node-undefined").payload is None
    assert call(server, "node-streaming", [1]).payload == {"streamed": [1]}
    assert call(server, "node-module", 7).payload == "module 7"


def test_node_errors_and_logs(server, node):
    sources = {
        "throws": "exports.handler = async () => { throw new RangeError('too far'); };",
        "rejects": "exports.handler = () => { Promise.reject(new Error('left alone')); setTimeout(() => {}, 5000); };",
        "throws-late": "exports.handler = () => new Promise(() => setTimeout(() => { throw new TypeError('late'); }, 10));",
        "callback-error": "exports.handler = (event, context, callback) => callback('a text');",
        "exits": "exports.handler = async () => process.exit(5);",
        "no-handler": "exports.other = 1;",
        "throws-at-init": "throw new Error('at init');",
        "logs": "exports.handler = async () => { console.log('one', {two: 2}); console.error('bad\\nluck'); };",
    }
    for name, source in sources.items():
        create(server, f"node-{name}", node, zip_of(index__js=source))
    create(server, "node-missing", node, zip_of(other__js="1"))
    assert call(server, "node-throws").error == ("RangeError", "too far")
    assert call(server, "node-rejects").error == ("Runtime.UnhandledPromiseRejection", "left alone")
    assert call(server, "node-throws-late").error == ("TypeError", "late")
    assert call(server, "node-callback-error").error == ("string", "a text")
    assert call(server, "node-exits").error[0] == "Runtime.ExitError"
    assert call(server, "node-no-handler").error[0] == "Runtime.HandlerNotFound"
    assert call(server, "node-throws-at-init").error == ("Error", "at init")
    assert call(server, "node-missing").error[0] == "Runtime.ImportModuleError"
    made = call(server, "node-logs")
    lines = [line.split("\t") for line in made.own_lines()]
    assert [line[1:] for line in lines] == [
        [made.request_id, "INFO", "one { two: 2 }"],
        [made.request_id, "ERROR", "bad\rluck"],
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line[0]) for line in lines)


def test_each_node_call_is_fresh(server, node):
    source = """
        const fs = require('fs');
        let calls = 0;
        exports.handler = async () => {
            const found = fs.readdirSync('/tmp');
            fs.writeFileSync('/tmp/left', 'x');
            return {calls: ++calls, found, version: process.version};
        };
    """
    create(server, "node-fresh", node, zip_of(index__js=source))
    made = together(lambda n: call(server, "node-fresh"), range(12), threads=3)
    assert all(one.payload["calls"] == 1 and one.payload["found"] == [] for one in made), made
    assert len({one.instance_id for one in made}) == 12
    assert made[0].payload["version"].startswith("v" + re.sub(r"\D", "", node))


def test_a_layer_may_bring_the_runtime(server):
    client = server.client()
    layer = client.publish_layer_version(LayerName="runtime", Content={"ZipFile": zip_of(bootstrap=SHELL)})
    create(server, "layered", "provided.al2023", zip_of(note="x"), Layers=[layer["LayerVersionArn"]])
    assert call(server, "layered", 5).payload["shell"] == 5


def test_memory_and_time_hold_for_node(server, node):
    source = """
        exports.handler = async (event) => {
            if (event === 'time') await new Promise(() => setInterval(() => {}, 1000));
            const kept = [];
            for (;;) kept.push(Buffer.alloc(16 << 20, 1));
        };
    """
    create(server, "node-greedy", node, zip_of(index__js=source), Timeout=3 * harness.SLOW, MemorySize=192)
    assert call(server, "node-greedy", "memory").error[0] == "Runtime.OutOfMemory"
    assert call(server, "node-greedy", "time").error[0] == "Sandbox.Timedout"
    assert json.loads(server.cli("bill", "--json").stdout)


def test_the_examples_deploy_by_one_line_each(server, node):
    folder = pathlib.Path(__file__).parents[2] / "examples/languages"
    server.cli("deploy", folder / "shell", "--name", "example-shell")
    server.cli("deploy", folder / "node", "--name", "example-node")
    assert call(server, "example-shell", {"a": "b c"}).payload["words"] == 3
    assert call(server, "example-node", {"text": "so und so"}).payload["words"] == {"so": 2, "und": 1}


def test_a_rust_function_of_the_usual_crate(server, tmp_path):
    if shutil.which("cargo") is None:
        pytest.skip("no cargo on this machine")
    folder = pathlib.Path(__file__).parents[2]
    built = pathlib.Path(harness.BINARY).parents[1] / "rust-function"
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--target-dir", built, "--manifest-path", folder / "examples/languages/rust/Cargo.toml"],
        check=True,
        timeout=900 * harness.SLOW,
    )  # fmt: skip
    (tmp_path / "package").mkdir()
    shutil.copy(built / "debug/bootstrap", tmp_path / "package")
    server.cli("deploy", tmp_path / "package", "--name", "example-rust")
    answer = call(server, "example-rust", {"text": "so und so"})
    assert answer.payload == {"words": 3, "request": answer.request_id}
    # What the runtime does after its answer is cut without a word.
    assert answer.own_lines() == ["9 bytes"]
    assert call(server, "example-rust", {}).payload["errorMessage"] == 'the event has no "text"'


def test_python_through_the_stock_runtime_client(server, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", tmp_path / "package"]
    subprocess.run([*command, "awslambdaric==4.2.2"], check=True, timeout=300 * harness.SLOW)
    (tmp_path / "package/app.py").write_text("def handler(event, context):\n    return [event, context.aws_request_id]\n")
    bootstrap = tmp_path / "package/bootstrap"
    bootstrap.write_text('#!/bin/sh\nexport PYTHONPATH="$LAMBDA_TASK_ROOT"\nexec %s -m awslambdaric "$_HANDLER"\n' % harness.RUNTIME)
    bootstrap.chmod(0o755)
    server.cli("deploy", tmp_path / "package", "--runtime", "provided.al2023", "--handler", "app.handler", "--name", "stock")
    answer = call(server, "stock", {"n": 1})
    assert answer.payload == [{"n": 1}, answer.request_id]
