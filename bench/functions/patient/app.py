"""Holds its instance, so that events wait behind it while enqueueing is measured."""

import time


def handler(event, context):
    time.sleep(600)
