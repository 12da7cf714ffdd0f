"""Called by the clock."""


def handler(event, context):
    print("it is", event["time"])
