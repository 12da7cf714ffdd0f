"""What ordinary programs do with the standard library, in a call: a clone must be as good as a process that was started."""

import asyncio
import concurrent.futures
import logging
import multiprocessing
import os
import random
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

logging.getLogger().setLevel("INFO")


def square(x):
    return x * x


async def shell(text):
    await asyncio.sleep(0.01)
    process = await asyncio.create_subprocess_exec("echo", text, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().strip()


def handler(event, context):
    logging.info("on %s", sys.version.split()[0])
    seen = {}
    made = []
    threads = [threading.Thread(target=made.append, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen["threads"] = sorted(made) == list(range(20))
    seen["main thread"] = threading.current_thread() is threading.main_thread()
    seen["native id"] = threading.main_thread().native_id == threading.get_native_id() == os.getpid()
    seen["subprocess"] = subprocess.run(["sh", "-c", "echo $((1+2))"], capture_output=True, text=True).stdout.strip()
    seen["asyncio"] = asyncio.run(shell("hi"))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        seen["thread pool"] = list(pool.map(square, range(5)))
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
        seen["process pool"] = list(pool.map(square, range(5)))
    with fork.Pool(2) as pool:
        seen["pool"] = pool.map(square, range(5))
    child = os.fork()
    if child == 0:
        os._exit(7)
    seen["fork"] = os.waitpid(child, 0)[1] >> 8
    lock = threading.RLock()
    with lock, lock:
        seen["lock"] = True
    with tempfile.NamedTemporaryFile() as file:
        seen["temporary file"] = os.path.exists(file.name)
    base = sqlite3.connect("/tmp/base")
    base.execute("create table t (a)")
    base.execute("insert into t values (1)")
    seen["sqlite"] = base.execute("select count(*) from t").fetchone()[0]
    seen["ssl"] = len(ssl.RAND_bytes(8))
    rung = []
    signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    while not rung:
        time.sleep(0.01)
    seen["signal"] = True
    return {"seen": seen, "version": "%d.%d" % sys.version_info[:2], "random": random.random()}
