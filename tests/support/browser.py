"""A headless Chromium, driven by the DevTools protocol over pipes: no driver, no network."""
import base64
import fcntl
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import time

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of a Chromium whose profile is in `folder`, where downloads go too. A context manager.

    Attributes:
        problems: what the page's console said of errors and warnings, uncaught exceptions and security policies.
        requests: addresses that the page asked for, but for data and blob.
    """

    def __init__(self, folder):
        if CHROMIUM is None:
            pytest.skip("no Chromium on the path: apt-get install chromium")
        (to_browser, self._to), (self._from, from_browser) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
        place_pipes = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'  # where the protocol has them
        self._process = subprocess.Popen(
            ["bash", "-c", place_pipes, "bash", CHROMIUM, *OPTIONS, f"--user-data-dir={folder}"],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self.folder, self.problems, self.requests, self._events, self._buffer = folder, [], [], [], b""
        self._numbers, self._session, self._names, self._saved = itertools.count(1), None, {}, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._to)  # which ends it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    def call(self, method, **parameters):
        """The answer to a command of the protocol."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        os.write(
            self._to, json.dumps({"id": number, "method": method, "params": parameters, **session}).encode() + b"\0"
        )
        while (message := self._receive()).get("id") != number:
            self._note(message)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def _receive(self, seconds=20):
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], seconds)[0], f"Chromium said nothing for {seconds} s"
            self._buffer += (part := os.read(self._from, 1 << 20))
            assert part, "Chromium ended"
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, message):
        method, parameters = message.get("method"), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.problems.append(parameters["exceptionDetails"])
        elif method == "Log.entryAdded" or method == "Runtime.consoleAPICalled":
            self.problems.append(parameters)
        elif method == "Browser.downloadWillBegin":
            self._names[parameters["guid"]] = parameters["suggestedFilename"]
        elif method == "Browser.downloadProgress" and parameters["state"] == "completed":
            name = self._names[parameters["guid"]]
            self._saved.append(pathlib.Path(parameters.get("filePath") or self.folder / name))
        elif method == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            self.requests += [] if url.startswith(("data:", "blob:")) else [url]

    def open(self, path, width=1280, height=900):
        """Show a file, and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self._events.clear(), self.problems.clear(), self.requests.clear()
        self.call("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._note(self._receive())

    def evaluate(self, expression):
        """The value of JavaScript, awaited where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=15):
        """Wait until JavaScript is true; fails the test where it never is."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"!!({expression})"):
            assert time.monotonic() < end, (f"not within {seconds} s: {expression}", self.problems)
            time.sleep(0.02)

    def click(self, x, y):
        """Click where x and y are in the window, in CSS pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key, code=None, text=""):
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=code or key,
                text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode={"Tab": 9, "Enter": 13}.get(key, 0),
            )

    def downloaded(self):
        """The path of the next file that the page has saved, once it is whole."""
        while not self._saved:
            self._note(self._receive())
        return self._saved.pop(0)

    def screenshot(self, path, whole=True):
        """Write a PNG of the page."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(picture))
