"""Tries what a hostile function would try. `{"do": name, …}` calls `name(…)`.

With ATTACK in the environment, that attack is made at init too, and `found_at_init` returns what it gave.
"""

import ctypes
import errno
import glob
import io
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

LIBC = ctypes.CDLL(None, use_errno=True)

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME = (
    0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80,
)
# Number on x86-64 and arguments.
CALLS = {
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0),
    "umount": (166, b"/tmp", 2),
    "pivot_root": (155, b"/tmp", b"/tmp"),
    "chroot": (161, b"/tmp"),
    "unshare user": (272, NEWUSER),
    "unshare mount": (272, NEWNS),
    "unshare network": (272, NEWNET),
    "unshare time": (272, NEWTIME),
    "setns": (308, 0, 0),
    "clone user": (56, NEWUSER | 17, 0, 0, 0, 0),
    "clone mount": (56, NEWNS | 17, 0, 0, 0, 0),
    "clone network": (56, NEWNET | 17, 0, 0, 0, 0),
    "clone user and network": (56, NEWUSER | NEWNET | 17, 0, 0, 0, 0),
    "clone cgroup": (56, NEWCGROUP | 17, 0, 0, 0, 0),
    "clone pid with the upper half set": (56, 0xFFFFFFFF00000000 | NEWPID | NEWUSER | 17, 0, 0, 0, 0),
    "clone3": (435, 0, 88),
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, 0, 0, 0),
    "keyctl": (250, 0, -3, 1),
    "add_key": (248, b"user", b"a", b"b", 1, -3),
    "request_key": (249, b"user", b"a", 0, 0),
    "io_uring_setup": (425, 1, 0),
    "userfaultfd": (323, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "kexec_file_load": (320, 0, 0, 0, 0, 0),
    "init_module": (175, 0, 0, b""),
    "finit_module": (313, 0, b"", 0),
    "delete_module": (176, b"x", 0),
    "reboot": (169, 0xFEE1DEAD, 672274793, 0x1234567, 0),
    "swapon": (167, b"/tmp/x", 0),
    "syslog": (103, 3, 0, 0),
    "settimeofday": (164, 0, 0),
    "clock_settime": (227, 0, 0),
    "clock_adjtime": (305, 0, 0),
    "adjtimex": (159, 0),
    "sethostname": (170, b"mine", 4),
    "setdomainname": (171, b"mine", 4),
    "open_by_handle_at": (304, 0, 0, 0),
    "name_to_handle_at": (303, 0, b"/", 0, 0, 0),
    "fanotify_init": (300, 0, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "acct": (163, 0),
    "iopl": (172, 3),
    "ioperm": (173, 0, 8, 1),
    "modify_ldt": (154, 0, 0, 0),
    "uselib": (134, b"x"),
    "sync": (162,),
    "syncfs": (306, 0),
    "fsopen": (430, b"tmpfs", 0),
    "open_tree": (428, 0, b"/", 0),
    "move_mount": (429, 0, b"/", 0, b"/", 0),
    "mount_setattr": (442, 0, b"/", 0, 0, 0),
    "move_pages": (279, 0, 0, 0, 0, 0, 0),
    "vhangup": (153,),
    "a call of another architecture": (0x40000000 | 39,),
    "a call that does not exist": (9999,),
    "huge pages of the host": (9, 0, 2 << 20, 3, 0x40022, -1, 0),
    "memfd of huge pages": (319, b"x", 4),
    "shared memory of huge pages": (29, 0, 2 << 20, 0o4000 | 0o1600),
}
FAMILIES = {"vsock": 40, "packet": 17, "alg": 38, "bluetooth": 31, "can": 29, "tipc": 30, "rds": 21, "xdp": 44, "key": 15, "nfc": 39, "llc": 26}


def handler(event, context):
    event = dict(event)
    return globals()[event.pop("do")](**event)


def system_calls():
    """Name → errno of every call above; 0 for one that succeeded."""
    found = {}
    for name, (number, *arguments) in CALLS.items():
        pid = os.getpid()
        ctypes.set_errno(0)
        result = LIBC.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)])
        if os.getpid() != pid:
            os._exit(0)
        found[name] = 0 if result >= 0 else ctypes.get_errno()
        if name.startswith("clone") and result == 0:
            os._exit(0)
    return found


def sockets():
    """Family → errno of making a socket; 0 for one that was made."""
    found = {}
    for name, family in FAMILIES.items():
        fd = LIBC.socket(family, 3 if name == "packet" else 5 if name == "alg" else 1, 0)
        found[name] = ctypes.get_errno() if fd < 0 else 0
    fd = LIBC.socket(2, 3, 1)
    found["raw"] = ctypes.get_errno() if fd < 0 else 0
    for protocol, name in ((9, "audit"), (15, "uevent"), (16, "generic"), (12, "netfilter")):
        fd = LIBC.socket(16, 3, protocol)
        found["netlink " + name] = ctypes.get_errno() if fd < 0 else 0
    return found


def status(of_a_program=False):
    """Ids, capabilities and restrictions of this process, or of a program that it starts."""
    if of_a_program:
        out = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
        file = io.StringIO(out)
    else:
        file = open("/proc/self/status")
    with file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups")
    return {name: lines.get(name, "").strip() for name in wanted}


def processes():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def devices():
    """Name → type of everything below /dev."""
    kinds = {stat.S_IFCHR: "char", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFREG: "file"}
    return {name: kinds.get(stat.S_IFMT(os.lstat("/dev/" + name).st_mode), "?") for name in os.listdir("/dev")}


def listing(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return errno.errorcode[error.errno]


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode(errors="replace")
    except OSError as error:
        return errno.errorcode[error.errno]


def write(paths):
    """Path → error of opening it for writing, or of writing; "written" where that worked."""
    found = {}
    for path in paths:
        try:
            fd = os.open(path, os.O_WRONLY)
            try:
                os.write(fd, b"1\n")
            finally:
                os.close(fd)
            found[path] = "written"
        except OSError as error:
            found[path] = errno.errorcode[error.errno]
    return found


def make(folders):
    """Folder → error of making a file there; "made" where that worked."""
    found = {}
    for folder in folders:
        try:
            with open(folder + "/made", "w"):
                found[folder] = "made"
        except OSError as error:
            found[folder] = errno.errorcode[error.errno]
    return found


def writable_places():
    """Every folder of the whole tree where a file can be made."""
    found = []
    for folder, below, _ in os.walk("/"):
        if folder == "/":
            below.remove("proc")
        try:
            with open(folder + "/.made", "w"):
                pass
            os.unlink(folder + "/.made")
            found.append(folder)
        except OSError:
            pass
    return sorted(found)


def set_user_id(paths):
    """Path → effective uid with which it runs `id`-like."""
    found = {}
    for path in paths:
        mode = os.stat(path).st_mode
        out = subprocess.run([path], capture_output=True, text=True)
        found[path] = [oct(mode & 0o7777), out.stdout.strip()]
    return found


def search(texts):
    """Which of `texts` are found in what /proc tells of mounts, environment and command lines, and in the root."""
    seen = ""
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        seen += read(path)
    return [text for text in texts if text in seen]


# Network ----------------------------------------------------------------------------------------------------------------


def connect(addresses):
    """Address → error of connecting; "connected" where that worked."""
    found = {}
    for host, port in addresses:
        try:
            socket.create_connection((host, port), timeout=2).close()
            found[host] = "connected"
        except OSError as error:
            found[host] = errno.errorcode.get(error.errno, type(error).__name__)
    return found


def interfaces():
    return [name for _, name in socket.if_nameindex()]


def get(path):
    """Status and body of a request to the platform's endpoint, without a signature."""
    try:
        with urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + path, timeout=5) as answer:
            return [answer.status, answer.read(2000).decode()]
    except urllib.error.HTTPError as error:
        return [error.code, error.read(2000).decode()]


def hold_connections(count, seconds):
    """Opens connections to the platform's endpoint, says nothing on them, and returns how many it had."""
    held = []
    for _ in range(count):
        connection = socket.socket()
        connection.settimeout(0.5)
        try:
            connection.connect(("127.0.0.1", 4566))
        except OSError:
            break
        held.append(connection)
    time.sleep(seconds)
    return len(held)


def invoke(function, payload):
    """Calls another function with the role's temporary credentials, signed by hand: there is no SDK here."""
    import datetime
    import hashlib
    import hmac

    environ = os.environ
    host = environ["AWS_ENDPOINT_URL"].split("//")[1]
    body = json.dumps(payload).encode()
    path = "/2015-03-31/functions/%s/invocations" % function
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = "%s/%s/lambda/aws4_request" % (now[:8], environ["AWS_REGION"])
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now, "x-amz-security-token": environ["AWS_SESSION_TOKEN"]}
    signed = ";".join(sorted(headers))
    canonical = "\n".join(["POST", path, ""] + ["%s:%s" % pair for pair in sorted(headers.items())] + ["", signed, digest])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = "%s/%s" % (environ["AWS_ACCESS_KEY_ID"], scope)
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s" % (credential, signed, signature)
    del headers["host"]
    request = urllib.request.Request(environ["AWS_ENDPOINT_URL"] + path, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return [answer.status, json.loads(answer.read())]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]


# Others -----------------------------------------------------------------------------------------------------------------


def signal_others():
    """Sends SIGKILL to everything that has a number; which numbers took it."""
    took = []
    for pid in [-1, *range(2, 5000)]:
        if pid == os.getpid():
            continue
        try:
            os.kill(pid, signal.SIGKILL)
            took.append(pid)
        except OSError:
            pass
    return took


def fork_bomb(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if os.fork() == 0:
                continue
        except OSError:
            pass
    time.sleep(60)


def memory_bomb(children):
    for _ in range(children):
        if os.fork() == 0:
            break
    held = []
    while True:
        held.append(bytearray(1 << 20))


def disk_bomb(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open("/tmp/full", "wb", buffering=0) as file:
                while time.monotonic() < end:
                    file.write(b"x" * (1 << 20))
        except OSError:
            pass
    return "done"


def echo(value=None):
    return value


FOUND = None
if "ATTACK" in os.environ:
    FOUND = globals()[os.environ["ATTACK"]]()


def found_at_init():
    return FOUND
