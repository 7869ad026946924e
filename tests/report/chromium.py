"""A headless Chromium spoken to over its DevTools pipe, with the standard library alone."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
    "--hide-scrollbars", "--disable-background-networking", "--disable-component-update", "--no-first-run",
)  # fmt: skip
_PUT = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execvp(a[3], a[3:])"


@dataclass
class Page:
    """What a page did and how it came out.

    Attributes:
        messages: What the console, the log and uncaught exceptions said.
        requests: The addresses that were asked for.
        value: What the script gave.
        picture: A PNG of the whole page.
    """

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    value: Any = None
    picture: bytes = b""


class Chromium:
    """A browser; a context that ends its process."""

    def __init__(self, binary: str, profile: Path) -> None:
        read_theirs, self._write = os.pipe()
        self._read, write_theirs = os.pipe()
        # The browser reads from file 3 and writes to file 4; what stands between puts the pipes there.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read_theirs, write_theirs)]
        words = [sys.executable, "-I", "-S", "-c", _PUT, *map(str, ends), binary, *_FLAGS]
        self._process = subprocess.Popen(
            [*words, f"--user-data-dir={profile}"],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        os.close(read_theirs)
        os.close(write_theirs)
        self._waiting, self._number, self._events = b"", 0, []

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._write, self._read):
            os.close(end)
        self._process.terminate()
        self._process.wait(timeout=20)

    def open(self, address: str, width: int, script: str, *, dark: bool = False, height: int = 900) -> Page:
        """Opens a page at a width of CSS pixels, runs ``script`` in it and takes a picture of all of it."""
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

        def call(method: str, **params: Any) -> Any:
            return self._call(method, params, session)

        self._events = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            call(f"{domain}.enable")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        call("Emulation.setEmulatedMedia", features=[scheme])
        call("Page.navigate", url=address)
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self._events))
        page = Page(value=call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value"))
        size = call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        shot = call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        page.picture = base64.b64decode(shot["data"])
        for event in self._events:
            params = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                page.requests.append(params["request"]["url"])
            elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                page.messages.append(json.dumps(params))
        self._call("Target.closeTarget", {"targetId": target})
        return page

    def _call(self, method: str, params: dict[str, Any], session: str | None = None) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._write, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        answer: dict[str, Any] = {}

        def answered() -> bool:
            found = [event for event in self._events if event.get("id") == self._number]
            answer.update(found[0] if found else {})
            return bool(found)

        self._until(answered)
        self._events = [event for event in self._events if "method" in event]
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _until(self, done: Any, seconds: float = 60) -> None:
        """Reads messages until ``done``."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            ready = select.select([self._read], [], [], max(left, 0))[0]
            assert ready, f"Chromium said nothing for {seconds:g} s."
            data = os.read(self._read, 1 << 20)
            assert data, f"Chromium ended with code {self._process.wait(timeout=20)}."
            *whole, self._waiting = (self._waiting + data).split(b"\0")
            self._events += [json.loads(message) for message in whole]
