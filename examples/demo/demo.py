"""`make demo`: Dayfly's main job on real input, with boto3 as the client.

Starts a server on an empty temporary folder and a free port, runs three parts, shows every call, the bill, and what an
always-on machine would have cost for the same time. Stops the server and removes the folder at the end, also on Ctrl-C.
"""

import argparse
import base64
import collections
import io
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

EXAMPLES = pathlib.Path(__file__).resolve().parents[1]
LICENSES = pathlib.Path("/usr/share/common-licenses")
ROLE = "arn:aws:iam::000000000000:role/demo"
RUNTIME = f"python3.{sys.version_info.minor}"
WORKERS = 16
REPORT = re.compile(r"Billed Duration: (\d+) ms\tMemory Size: (\d+) MB\tMax Memory Used: (\d+) MB")


@dataclass
class Call:
    """One call, as its client saw it."""

    what: str
    latency_ms: float
    billed_ms: int
    memory_mb: int
    instance: str
    outcome: str
    result: object


class Server:
    """`dayfly serve` on a temporary folder; gone when the `with` block ends, however it ends."""

    def __init__(self, binary):
        self.binary = binary

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="dayfly-demo-")
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data", self.folder.name, "--listen", "127.0.0.1:0", "--drain-seconds", "5"],
            stdout=subprocess.PIPE, text=True,
            start_new_session=True,  # Ctrl-C is for this script, which then stops the server in order.
        )
        line = self.process.stdout.readline()
        found = re.match(r"dayfly: listening on (http://\S+)", line)
        if not found:
            self.__exit__()
            sys.exit("demo: the server did not start; its message is above. `dayfly doctor` tells what is missing.")
        self.endpoint = found[1]
        keys = json.loads(pathlib.Path(self.folder.name, "credentials.json").read_text())
        self.client = boto3.client(
            "lambda",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            config=Config(max_pool_connections=WORKERS, retries={"total_max_attempts": 1}, read_timeout=120),
        )
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()

    def cli(self, verb, *arguments):
        """Output of a verb of the `dayfly` command."""
        command = [self.binary, verb, "--data", self.folder.name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def deploy(self, name, folder, handler, **settings):
        """Creates a function of a folder's Python files and waits until it can be called."""
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((EXAMPLES / folder).glob("*.py")):
                archive.write(path, path.name)
        self.client.create_function(
            FunctionName=name, Runtime=RUNTIME, Role=ROLE, Handler=handler, Code={"ZipFile": package.getvalue()}, **settings
        )
        self.client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05})

    def call(self, name, payload, what):
        """Calls and measures."""
        started = time.perf_counter()
        answer = self.client.invoke(FunctionName=name, Payload=json.dumps(payload), LogType="Tail")
        result = json.loads(answer["Payload"].read())
        latency_ms = (time.perf_counter() - started) * 1000
        report = REPORT.search(base64.b64decode(answer["LogResult"]).decode(errors="replace"))
        outcome = result.get("errorType", "Error") if "FunctionError" in answer else "ok"
        instance = answer["ResponseMetadata"]["HTTPHeaders"]["x-dayfly-instance-id"]
        return Call(what, latency_ms, int(report[1]), int(report[3]), instance, outcome, result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dayfly", default="target/release/dayfly", help="the binary")
    parser.add_argument("--calls", type=int, default=100, help="calls of the function with the expensive init")
    parser.add_argument(
        "--machine-price", type=float, default=0.0104,
        help="dollars per hour of the always-on machine; default: Amazon EC2 t3.micro, Linux, on demand, us-east-1",
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("demo: terminated"))
    started = time.monotonic()
    with Server(arguments.dayfly) as server:
        say(f"A server runs at {server.endpoint}, on an empty folder.")
        calls = wordcount(server) + expensive_init(server, arguments.calls) + failures(server)
        queued = events(server)
        heading("Calls")
        show(calls)
        check(len({call.instance for call in calls}) == len(calls), "every call had an instance of its own")
        show_bill(server, len(calls) + queued, time.monotonic() - started, arguments.machine_price)
    say("\nThe server has stopped, and its folder is gone.")


def wordcount(server):
    """Counts the words of the licence texts of this machine: a call per text, all in parallel, then one that adds up."""
    heading("1. Word count: one call per text in /usr/share/common-licenses, in parallel, then a reduce")
    texts = {path.name: path.read_text(errors="replace") for path in unique_files(LICENSES)}
    check(len(texts) > 0, f"{len(texts)} texts, {sum(map(len, texts.values())) / 1e3:.0f} KB")
    server.deploy("wordcount-map", "wordcount", "app.map_handler", MemorySize=256, Timeout=30)
    server.deploy("wordcount-reduce", "wordcount", "app.reduce_handler", MemorySize=256, Timeout=30)
    jobs = [("wordcount-map", {"name": name, "text": text}, f"map {name}") for name, text in texts.items()]
    calls = in_parallel(server, jobs, "mapping")
    calls.append(server.call("wordcount-reduce", [call.result for call in calls], "reduce"))
    total = calls[-1].result
    local = collections.Counter()
    for text in texts.values():
        local.update(word.lower() for word in re.findall(r"[A-Za-z']+", text))
    check(total["counts"] == local, f"{total['words']} words; the same count as a local loop over the same texts")
    common = ", ".join(f"{word} {count}" for word, count in local.most_common(5))
    say(f"   most common: {common}")
    return calls


def expensive_init(server, number):
    """Calls a function whose init works for a second."""
    heading(f"2. Init that takes a second, {number} calls")
    server.deploy("expensive-init", "expensive_init", "app.handler", MemorySize=256, Timeout=30)
    started = time.perf_counter()
    jobs = [("expensive-init", {"index": index}, f"init {index}") for index in range(number)]
    calls = in_parallel(server, jobs, "calling")
    wall = time.perf_counter() - started
    sizes = {call.result["primes"] for call in calls}
    init_seconds = calls[0].result["init_seconds"]
    say(
        f"   wall {wall:.2f} s; init took {init_seconds} s and ran {len(sizes)} time(s)"
        f" (each init stops at another number of primes: {sorted(sizes)})"
    )
    check([call.result["prime"] for call in calls[:5]] == [2, 3, 5, 7, 11][:number], "the primes are right")
    check(wall < 0.5 * number * init_seconds, f"{number * init_seconds:.0f} s of init did not happen {number} times")
    return calls


def failures(server):
    """Fails in four ways; each has its own type."""
    heading("3. Failures, on purpose")
    server.deploy("failures", "failures", "app.handler", MemorySize=128, Timeout=5)
    expected = {
        "raise": "ValueError", "time": "Sandbox.Timedout", "memory": "Runtime.OutOfMemory", "exit": "Runtime.ExitError",
    }
    calls = []
    for how, kind in expected.items():
        call = server.call("failures", {"how": how}, f"fail: {how}")
        said = call.result["errorMessage"].partition("Error: ")[2] or call.result["errorMessage"]
        check(call.outcome == kind, f"{how}: {call.outcome}: {said}")
        calls.append(call)
    return calls


def events(server, number=5):
    """Queues events; `show_bill` waits until each has its usage record."""
    heading(f"4. {number} asynchronous calls")
    for index in range(number):
        payload = json.dumps({"name": f"event {index}", "text": "a b c"})
        answer = server.client.invoke(FunctionName="wordcount-map", InvocationType="Event", Payload=payload)
        check(answer["StatusCode"] == 202, f"event {index}: 202, which means it is on disk")
    return number


def show_bill(server, expected, wall_seconds, machine_price):
    """The bill, and the always-on machine beside it."""
    heading("The bill (dayfly bill), at AWS Lambda's public x86 prices")
    bill = settled_bill(server, expected)
    say(server.cli("bill").rstrip())
    check(bill["total"]["requests"] == expected, f"{expected} calls were made, and {expected} are on the bill")
    cost, month = bill["total"]["cost"], machine_price * 730
    say(
        f"""
What an always-on machine costs
   the machine:  ${machine_price}/hour whether or not it is called (--machine-price; the default is the list price
                 of Amazon EC2 t3.micro, Linux, on demand, us-east-1: 2 vCPUs, 1 GB)
   these {wall_seconds:.0f} s:   ${machine_price * wall_seconds / 3600:.6f} on the machine, rented by the second; ${cost:.6f} by the bill, with init and waiting free
   a month:      ${month:.2f} on the machine; for that money the bill allows this demo {month / cost:,.0f} times
   Neither counts what runs Dayfly itself: this compares the two ways of charging, not two data centres."""
    )


def settled_bill(server, expected, seconds=30):
    """The bill once the events have run: an event runs some time after its 202, and a call's record follows its answer."""
    deadline = time.monotonic() + seconds
    while True:
        bill = json.loads(server.cli("bill", "--json"))
        if bill["total"]["requests"] >= expected or time.monotonic() > deadline:
            return bill
        time.sleep(0.1)


def in_parallel(server, jobs, message):
    """Makes the calls from many threads; returns them in order of `jobs`."""
    calls = [None] * len(jobs)
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = {pool.submit(server.call, *job): index for index, job in enumerate(jobs)}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                calls[futures[future]] = future.result()
                progress(message, done, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for job, call in zip(jobs, calls):
        check(call.outcome == "ok", f"{job[2]}: {call.outcome}: {call.result}", quiet=True)
    return calls


def unique_files(folder):
    """The files behind the names, each once: several names link to the newest version of a licence."""
    return sorted({path.resolve() for path in folder.iterdir() if path.resolve().is_file()})


def show(calls, most=40):
    """A table; of many calls of one kind the first and the last."""
    say(f"   {'call':<28} {'latency ms':>10} {'billed ms':>9} {'memory MB':>9}  {'instance':<34} outcome")
    shown = calls if len(calls) <= most else None
    groups = collections.defaultdict(list)
    for call in calls:
        groups[call.what.split()[0]].append(call)
    for group in [calls] if shown else groups.values():
        rows = group if shown or len(group) <= 20 else [*group[:3], None, *group[-3:]]
        for call in rows:
            if call is None:
                say(f"   … {len(group) - 6} more")
                continue
            say(
                f"   {call.what:<28} {call.latency_ms:>10.2f} {call.billed_ms:>9} {call.memory_mb:>9}"
                f"  {call.instance:<34} {call.outcome}"
            )


def heading(text):
    say(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def say(text):
    print(text, flush=True)


def check(true, text, quiet=False):
    """Says what holds; ends the demo when it does not."""
    if not true:
        sys.exit(f"demo: NOT TRUE: {text}")
    if not quiet:
        say(f"   ✓ {text}")


def progress(message, done, total):
    """A bar on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        width = 40 * done // total
        end = "\r\033[K" if done == total else ""
        print(f"\r   {message} [{'#' * width:<40}] {done}/{total}{end}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ndemo: interrupted; everything is cleaned up")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"demo: {error}\ndemo: the server is stopped; `dayfly doctor` tells what this machine lacks")
