"""Init takes a second; the call takes nothing."""

import time

time.sleep(1.0)


def handler(event, context):
    return {"n": event["n"] + 1}
