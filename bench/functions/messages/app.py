"""Handles messages of a queue: says which. The peer's loop imports this very file."""


def handle(bodies):
    print("handled", *bodies)


def handler(event, context):
    handle(record["body"] for record in event["Records"])
