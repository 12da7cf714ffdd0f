"""A client of APIs and function URLs that shows answers as they are."""

import gzip
import http.client
import json
import urllib.parse


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def unpacked(self):
        assert self.headers["content-encoding"] == "gzip"
        return gzip.decompress(self.body)


def request(server, path, method="GET", body=None, host=None, headers=None):
    """One request to a server; `host` is the name to ask for. A header whose value is a list is sent many times."""
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=60)
    try:
        connection.putrequest(method, urllib.parse.quote(path, safe="/?&=%+:,~"), skip_host=host is not None, skip_accept_encoding=True)
        if host is not None:
            connection.putheader("Host", host)
        for name, value in (headers or {}).items():
            for one in value if isinstance(value, list) else [value]:
                connection.putheader(name, one)
        body = body.encode() if isinstance(body, str) else body
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()
