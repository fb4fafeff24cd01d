"""A real browser for tests, spoken to as WebDriver and Chrome's own protocol say; it needs no package."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    def __init__(self, port: int, profile: Path) -> None:
        self.base = f"http://127.0.0.1:{port}"
        # The driver is on this machine, whatever proxy leads out of it.
        self.open = build_opener(ProxyHandler({})).open
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}", "about:blank"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"
        # A browser may begin with a page of its own in spite of what it was given.
        self._send("POST", f"{self.session}/url", {"url": "about:blank"})

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with self.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def show(self, page: Path) -> None:
        self._send("POST", f"{self.session}/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        return self._send("POST", f"{self.session}/execute/sync", {"script": script, "args": []})

    def command(self, name: str, **parameters: Any) -> Any:
        """Chrome's own protocol."""
        return self._send("POST", f"{self.session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def look(self, width: int, *, dark: bool = False, media: str = "screen") -> None:
        """Look at pages on a screen of this width, in light or dark, or as they are printed."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 700
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def press(self, key: str) -> None:
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        actions = {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]}
        self._send("POST", f"{self.session}/actions", actions)

    def picture(self) -> bytes:
        """The whole page as it is looked at."""
        made = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(made["data"])

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What was logged since the last time: ``browser`` is the console, ``performance`` has the requests."""
        logged: list[dict[str, Any]] = self._send("POST", f"{self.session}/se/log", {"type": kind})
        return logged

    def requests(self) -> list[str]:
        """The addresses that pages asked for since the last time; the browser's own pages (``chrome…:``) are none."""
        events = [json.loads(line["message"])["message"] for line in self.log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [str(each["request"]["url"]) for each in sent if not each["documentURL"].startswith("chrome")]

    def close(self) -> None:
        self._send("DELETE", self.session)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    assert DRIVER is not None
    with (folder / "driver.log").open("w") as log:
        driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert driver.stdout is not None
            port = next(int(line.split()[-1].rstrip(".")) for line in driver.stdout if "successfully on port" in line)
            shown = Browser(port, folder / "profile")
            try:
                yield shown
            finally:
                shown.close()
        finally:
            driver.terminate()
            driver.wait(timeout=20)
            assert driver.stdout is not None
            driver.stdout.close()
