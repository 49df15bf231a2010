"""A headless Chromium for tests: what it shows, what it asked for, what it complained about, and how it is used."""

from __future__ import annotations

import json
import os
import shutil
import signal
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.remote.webelement import WebElement

from tests.support.waiting.fair_clock import PATIENCE_S
from tests.support.waiting.until import wait_until

PROGRAMS = (shutil.which("chromium"), shutil.which("chromedriver"))
SCREENSHOTS = "SCREENSHOTS"
"""The variable that names a folder for screenshots. Without it none are saved."""
# No address but this machine's is ever looked up; nothing runs that a page did not ask for.
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
             "--disable-breakpad", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
SERIOUS = ("serious", "critical")

FIRST = """
    const [selector, text] = arguments;
    const isShown = (element) => (element.closest("select") ?? element).checkVisibility();    // options have no place
    return [...document.querySelectorAll(selector)].find((element) => isShown(element)
        && (element.innerText ?? "").concat(" ", element.ariaLabel).includes(text));
"""

Scheme = Literal["light", "dark"]


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """A browser with an empty profile. Skips the test where there is none; with CI=true, the test fails."""
    browser, driver = PROGRAMS
    if browser is None or driver is None:
        word = "Chromium and its driver are missing; `make deps-test` installs them"
        if os.environ.get("CI") == "true":
            pytest.fail(word)
        pytest.skip(word)
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (*ARGUMENTS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A session of its own, so that nothing of it outlives the test.
    service = ChromeService(driver, popen_kw={"start_new_session": True})
    try:
        chrome = Chrome(options, service)
        chrome.set_script_timeout(PATIENCE_S)
        yield Chromium(chrome)
        chrome.quit()
    finally:
        service.stop()
        with suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGKILL)


class Chromium:
    """One window."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.asked_for: list[str] = []
        """The address of every request, in order, as far as `collect` has seen them."""
        self.complaints: list[str] = []
        """Errors and warnings of the console."""

    def collect(self) -> None:
        """Bring `asked_for` and `complaints` up to date."""
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.asked_for.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.asked_for.append(message["params"]["url"])
        self.complaints += [entry["message"] for entry in self._log("browser")
                            if entry["level"] in {"SEVERE", "WARNING"}]

    def forgive(self, status: int) -> None:
        """Drop the complaints about answers with this status, where the test has caused them."""
        self.collect()
        self.complaints = [each for each in self.complaints if f"a status of {status}" not in each]

    def look(self, width: int, height: int, scheme: Scheme = "light", scale: float = 1) -> None:
        """Use a window of this size, as a person with this scheme of colours would see it."""
        self._cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 700)
        self._cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme},
                                                          {"name": "prefers-reduced-motion", "value": "reduce"}])

    def open(self, address: str) -> None:
        self.driver.get(address)

    @contextmanager
    def first(self, script: str) -> Iterator[None]:
        """Run this in each page before anything of its own."""
        added = self._cdp("Page.addScriptToEvaluateOnNewDocument", source=script)
        yield
        self._cdp("Page.removeScriptToEvaluateOnNewDocument", **added)

    def run(self, script: str, *arguments: object) -> Any:
        """The value of a script; of what it promises, if it returns a promise."""
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"(async function() {{ {script} }}).apply(null, arguments).then((value) => done({{value}}),"
            " (error) => done({error: String(error) + error.stack}));", *arguments)

    def value(self, script: str, *arguments: object) -> Any:
        """As `run`, but an error of the script fails the test."""
        got = self.run(script, *arguments)
        assert "error" not in got, got["error"]
        return got.get("value")

    def one(self, selector: str, text: str = "") -> WebElement:
        """The first element that is displayed and has the text, as soon as there is one."""
        found: list[WebElement] = []

        def is_there() -> bool:
            found[:] = [self.driver.execute_script(FIRST, selector, text)]
            return found != [None]

        assert wait_until(is_there), f"no {selector} with {text!r} in: {self.value('return document.body.innerText')}"
        return found[0]

    def keys(self, *keys: str) -> None:
        """Type into whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def barriers(self) -> list[str]:
        """What axe-core finds serious or critical in what is shown, each with the places."""
        if not self.value("return Boolean(window.axe)"):
            # Not by a script element: the page's own policy forbids that.
            self._cdp("Runtime.evaluate", expression=(files("axe_core_python") / "axe.min.js").read_text())
        found = self.value("return (await window.axe.run(document, {resultTypes: ['violations']})).violations")
        return [f"{each['impact']} {each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
                for each in found if each["impact"] in SERIOUS]

    def save(self, name: str) -> None:
        """Save a screenshot of the whole page, where the variable names a folder for it."""
        if folder := os.environ.get(SCREENSHOTS):
            Path(folder).mkdir(parents=True, exist_ok=True)
            width, height = self.value("scrollTo(0, 0); const page = document.documentElement;"
                                       "return [page.clientWidth, page.scrollHeight]")
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            shot = self._cdp("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
            Path(folder, f"{name}.png").write_bytes(b64decode(shot["data"]))

    def drag(self, element: WebElement, points: Sequence[tuple[float, float]]) -> None:
        """Press at the first point, move over the others, and release. Points are shares of the element."""
        at = self._at(element, points)
        self._mouse("mouseMoved", *at[0])
        self._mouse("mousePressed", *at[0], held=True)
        for point in at[1:]:
            self._mouse("mouseMoved", *point, held=True)
        self._mouse("mouseReleased", *at[-1])

    def click(self, element: WebElement, points: Sequence[tuple[float, float]]) -> None:
        """Click at each of these points, which are shares of the element."""
        for point in self._at(element, points):
            self._mouse("mouseMoved", *point)
            self._mouse("mousePressed", *point, held=True)
            self._mouse("mouseReleased", *point)

    def _at(self, element: WebElement, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Points of the window, for points that are shares of the element, which is brought into view."""
        box = self.value("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});"
                         "const box = arguments[0].getBoundingClientRect();"
                         "return [box.x, box.y, box.width, box.height]", element)
        return [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in points]

    def _mouse(self, kind: str, x: float, y: float, *, held: bool = False) -> None:
        self._cdp("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=int(held), clickCount=1,
                  button="left" if held or kind == "mouseReleased" else "none")

    def _log(self, name: str) -> list[dict[str, Any]]:
        return list(self.driver.get_log(name))      # type: ignore[no-untyped-call]

    def _cdp(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)
