"""A headless Chromium, driven over the W3C WebDriver protocol by chromedriver. No more of it than the tests use."""

import http.client
import json
import os
import shutil
import subprocess
import tempfile

import harness

ARGUMENTS = [
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--window-size=1000,800",
]  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing():
    """What has to be installed, or nothing."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    """`with Browser() as browser:` is one window with an empty profile."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            for line in self.driver.stdout:
                if "started successfully on port" in line:
                    self.port = int(line.rsplit(" ", 1)[1].strip().rstrip("."))
                    break
            arguments = [*ARGUMENTS, f"--user-data-dir={self.profile.name}"]
            if os.geteuid() == 0:
                # Chromium's own sandbox does not start as root; the pages are the test's own.
                arguments.append("--no-sandbox")
            options = {"binary": shutil.which("chromium"), "args": arguments}
            wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
            self.session = ""
            self.session = f"/{self.ask('POST', '', {'capabilities': wanted})['sessionId']}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def ask(self, method, path, body=None):
        """The value that an endpoint of the session answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120 * harness.SLOW)
        try:
            connection.request(method, f"/session{self.session}{path}", json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            value = json.load(answer)["value"]
        finally:
            connection.close()
        assert answer.status == 200, value
        return value

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def find(self, selector):
        """The address of the first element."""
        return f"/element/{self.ask('POST', '/element', {'using': 'css selector', 'value': selector})[ELEMENT]}"

    def text(self, selector):
        return self.ask("GET", f"{self.find(selector)}/text")

    def type(self, selector, text):
        self.ask("POST", f"{self.find(selector)}/value", {"text": text})

    def click(self, selector):
        self.ask("POST", f"{self.find(selector)}/click", {})

    def log(self):
        """What the page's console says since the last time."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"})]

    def __exit__(self, *_):
        try:
            if getattr(self, "session", ""):
                self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(30)
            self.driver.stdout.close()
            self.profile.cleanup()
