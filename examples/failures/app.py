"""A function that fails in the way it is asked to."""

import os
import time


def handler(event, context):
    """event: {"how": "raise" | "time" | "memory" | "exit"}."""
    how = event["how"]
    if how == "raise":
        raise ValueError("asked to fail")
    if how == "time":
        time.sleep(60)
    if how == "memory":
        hoard = []
        while True:
            hoard.append(bytearray(8 << 20))
    if how == "exit":
        os._exit(3)
    return how
