"""A function's handler as a WSGI application, for gunicorn. `app` is found on PYTHONPATH."""

import json

from app import handler


def application(environ, start_response):
    event = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    answer = json.dumps(handler(event, None)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    start_response("200 OK", headers)
    return [answer]
