"""The page in a real browser, behind a proxy under a sub-path, with a real daemon and broker.

Whatever a test does, at its end no request has left the page's own address, and the console has no error or warning.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.broker.mosquitto import running
from tests.support.browser.chromium import Chromium, Scheme, chromium
from tests.support.browser.sub_path import SubPath
from tests.support.daemon.running import RunningDaemon
from tests.support.network.local_clients import get_json
from tests.support.present import present
from tests.support.waiting.until import eventually, wait_until

pytestmark = pytest.mark.daemon

# The words that a section shows once all of it is there.
SECTIONS = {"Live": ".live-list td", "Events": ".event", "Health": ".u-wrap", "Model": "dd", "Set-up": ".setup-bars",
            "Broker": "dd"}
DESKTOP, PHONE = (1280, 800), (390, 844)
SEEN = """
    const results = window.results = [];
    const fetched = window.fetch;
    window.fetch = async (...request) => {
        const answer = await fetched(...request);
        if (!String(request[0]).includes("frame.jpg") || answer.status !== 200) return answer;
        const bytes = new Uint8Array(await answer.clone().arrayBuffer());
        let at = 2, text = "";
        const decoder = new TextDecoder();
        while (bytes[at] === 0xff && bytes[at + 1] === 0xfe) {
            const end = at + 2 + bytes[at + 2] * 256 + bytes[at + 3];
            text += decoder.decode(bytes.subarray(at + 4, end), {stream: true});
            at = end;
        }
        results.push(JSON.parse(text));
        return answer;
    };
    const {drawImage, strokeRect} = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.drawImage = function(...given) {
        this.canvas.strokes = [];
        return drawImage.apply(this, given);
    };
    CanvasRenderingContext2D.prototype.strokeRect = function(...given) {
        this.canvas.strokes?.push(given);
        return strokeRect.apply(this, given);
    };
"""
"""Keeps what the page was sent in `results`, and with each canvas the rectangles on its newest picture."""
STRANGE_NAMES = """
    const names = {car: "constructor",
        person: "<img src=x onerror='window.ran = 1'>\\"</title></svg>" + "W".repeat(150),
        bicycle: "\\u202e\\u0645\\u0631\\u062d\\u0628\\u0627 \\ud83d\\ude00".repeat(20)};
    const {parse} = JSON;
    JSON.parse = (text) => parse(String(text).replace(/"(person|car|bicycle)"/g,
        (_, name) => JSON.stringify(names[name])));
    Response.prototype.json = async function() { return JSON.parse(await this.text()); };
"""
"""Gives some labels other names, in whatever the page is sent."""
DRAWN = """
    const {colourOf} = await import("./static/picture.js");
    const canvas = document.querySelector(".live canvas");
    const {clientWidth: width, clientHeight: height} = canvas;
    const rectangles = (boxes) => JSON.stringify(boxes.map(([l, t, r, b]) =>
        [l * width, t * height, (r - l) * width, (b - t) * height].map(Math.round)).sort());
    const drawn = [...new Set((canvas.strokes ?? []).map((each) => JSON.stringify(each.map(Math.round))))]
        .map((each) => JSON.parse(each));
    const result = window.results.findLast(({detections}) => detections.length > 1
        && rectangles(detections.map(({box}) => box)) === JSON.stringify(drawn.sort()));
    if (!result) return null;
    const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height});
    const context = copy.getContext("2d", {willReadFrequently: true});
    context.drawImage(canvas, 0, 0);
    const ratio = canvas.width / width;
    const shades = result.detections.map(({label, box: [left, top, , bottom]}) => {
        const [x, y] = [left * width * ratio, (top + bottom) / 2 * height * ratio].map(Math.floor);
        const {data} = context.getImageData(Math.max(0, x - 1), y, 3, 1);
        const wanted = colourOf(label).match(/[0-9a-f]{2}/g).map((each) => parseInt(each, 16));
        const far = [0, 4, 8].map((at) => Math.max(...wanted.map((value, band) => Math.abs(value - data[at + band]))));
        return Math.min(...far) < 40;
    });
    return [result.detections.length, shades.filter(Boolean).length];
"""
"""How many things are in the picture that the live canvas shows now, and how many of their boxes it has in colour."""


@dataclass
class Site:
    """The browser at the page, and what is behind it."""

    browser: Chromium
    folder: Path
    port: int
    daemon: RunningDaemon | None = None
    addresses: list[str] = field(default_factory=list)
    """Of the page, and of other pages that tests have started."""

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "socket"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    def start_daemon(self) -> None:
        self.daemon = RunningDaemon(self.folder, "--config", self.config,
                                    env={"RUNTIME_DIRECTORY": str(self.socket.parent)})

    def end_daemon(self) -> None:
        if self.daemon is not None:
            self.daemon.__exit__()

    def tried(self) -> dict[str, Any]:
        return dict(get_json(self.socket, "/config")["tried"])

    def open(self, section: str = "live") -> None:
        """Load the page anew, at this section."""
        self.browser.open("about:blank")
        self.browser.open(f"{self.addresses[0]}#{section}")
        self.browser.one("h2")

    def show(self, section: str) -> None:
        """Follow the tab of a section, and wait until all of it is there."""
        self.browser.one("nav a", section).click()
        self.browser.one("h2", section)
        self.browser.one(SECTIONS[section])


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "run").mkdir()
    (folder / "page").mkdir()
    with ExitStack() as stack:
        browser = stack.enter_context(chromium(folder))
        broker = stack.enter_context(running(folder))
        site = Site(browser, folder, broker.port)
        site.config.write_text(
            f"device: gate\nmqtt: {{port: {broker.port}}}\nhealth: {{interval_s: 1}}\n"
            "camera: {source: synthetic, width: 640, height: 360, fps: 5}\nevents: {pictures: on}\n"
            "zones: {pavement: {points: [[0, 0.79], [1, 0.79], [1, 1], [0, 1]]}}\n"
            "lines: {crossing: {from: [0.5, 0.54], to: [0.5, 0.78]}}\n"
            f"page: {{daemons: ['{site.socket}'], allow: [pause, resume, snapshot, update, try]}}\n")
        stack.callback(site.end_daemon)
        site.addresses.append(stack.enter_context(page_of(folder / "page", site.config)))
        yield site


@contextmanager
def page_of(folder: Path, config: Path, env: dict[str, str] | None = None) -> Iterator[str]:
    """The address of a page that runs behind a proxy."""
    with RunningDaemon(folder, "--config", config, "--listen", "127.0.0.1:0", env=env,
                       program=("-m", "vedette", "page")) as page:
        assert page.waits_for_log("page on http"), page.log
        port = present(re.search(r"page on http://127\.0\.0\.1:(\d+)/", page.log))[1]
        with SubPath(int(port)) as proxy:
            yield proxy.address


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The page, in a wide window and in light colours. What it must never do is looked at afterwards."""
    browser = shared_site.browser
    if shared_site.daemon is None:
        shared_site.start_daemon()      # here, where the mark of the test is known
    browser.look(*DESKTOP)
    browser.collect()
    browser.asked_for.clear()
    browser.complaints.clear()
    yield shared_site
    browser.collect()
    own = (*shared_site.addresses, "blob:", "data:", "about:")
    assert [each for each in browser.asked_for if not each.startswith(own)] == []
    assert browser.complaints == []


def test_every_section_at_both_widths_in_both_schemes(site: Site) -> None:
    """Each shows what it has, fits into the window, and has no barrier that axe-core calls serious."""
    browser = site.browser
    looks: tuple[tuple[tuple[int, int], Scheme], ...] = ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"),
                                                         (PHONE, "dark"))
    for number, ((width, height), scheme) in enumerate(looks):
        browser.look(width, height, scheme)
        site.open()
        for section in SECTIONS:
            site.show(section)
            assert browser.value("return document.documentElement.scrollWidth") <= width, section
            if number in {0, 3}:        # each width and each scheme once: it takes a second
                assert browser.barriers() == [], f"{section}, {width} pixels, {scheme}"
            browser.save(f"{section.lower()}-{width}-{scheme}")


def test_names_that_are_long_or_look_like_html(site: Site) -> None:
    """A name is text wherever it is shown. However long it is, the page stays as wide as its window."""
    browser = site.browser
    with browser.first(STRANGE_NAMES):
        for width, height in (DESKTOP, PHONE):
            browser.look(width, height)
            site.open()
            for section in SECTIONS:
                site.show(section)
                wide, ran = browser.value("return [document.documentElement.scrollWidth, window.ran ?? null]")
                assert wide <= width, f"{section}, {width} pixels"
                assert ran is None
                browser.save(f"{section.lower()}-{width}-names")
            assert "native code" not in browser.one(".strip").text


def test_the_live_picture_has_its_boxes(site: Site) -> None:
    """The rectangles on the picture are those of its result, in the colours of their labels, and are told in words."""
    browser = site.browser
    site.open("broker")
    browser.value(SEEN)
    site.show("Live")
    things, coloured = eventually(lambda: browser.value(DRAWN))
    assert coloured >= things / 2, "others may cover a part of a box"
    assert wait_until(lambda: "In view: " in str(browser.one(".live canvas").get_attribute("aria-label")))
    browser.one("label", "Boxes").click()
    assert wait_until(lambda: browser.value("return document.querySelector('.live canvas').strokes.length") == 0)
    browser.one("label", "Boxes").click()


def test_a_zone_a_mask_and_a_threshold_are_tried(site: Site) -> None:
    """What is drawn by mouse and by keyboard runs on the daemon until it is taken back; the mask is for the file."""
    browser = site.browser
    site.open()
    site.show("Set-up")
    browser.one("button", "Draw zone").click()
    corners = [(0.25, 0.5), (0.75, 0.5), (0.75, 0.75), (0.25, 0.75)]
    browser.click(browser.one(".setup-stage"), corners)
    browser.keys(Keys.ENTER)
    browser.one("button", "Draw mask").click()
    browser.keys(Keys.SPACE, *[Keys.ARROW_RIGHT] * 20, Keys.SPACE, *[Keys.ARROW_UP] * 20, Keys.SPACE, Keys.ENTER)
    slider = browser.one(".setup-slider input")
    slider.send_keys(Keys.END, *[Keys.PAGE_DOWN] * 4)
    least = float(str(slider.get_property("value")))
    assert 0.5 < least < 0.9
    browser.one(".setup-summary", f"At {least:.2f}: ")
    browser.save("set-up-drawn")
    yaml = browser.one("pre", "YAML of the changes").text
    assert "masks:" in yaml
    assert f"score_threshold: {least}" in yaml
    browser.one("button", "Try on the running daemon").click()
    assert wait_until(lambda: "zones" in site.tried())
    tried = site.tried()
    assert tried["detector"]["score_threshold"] == least
    assert "camera" not in tried
    (points,) = [zone["points"] for name, zone in tried["zones"].items() if name != "pavement"]
    assert all(abs(got - wanted) < 0.02 for point, corner in zip(points, corners, strict=True)
               for got, wanted in zip(point, corner, strict=True))
    assert wait_until(lambda: all(each["score"] >= least for each in
                                  get_json(site.socket, "/results")["results"][-1]["detections"]))
    browser.one(".settings summary").click()
    browser.one(".settings tr", f"detector.score_threshold\t{least}\ttried now")
    browser.one(".settings tr", "publish.max_per_s\t5\tdefault")
    browser.one(".settings tr", f"health.interval_s\t1\t{site.config}:3")
    browser.one("button", "Take back").click()
    assert wait_until(lambda: site.tried() == {})
    own = get_json(site.socket, "/config")["config"]["detector"]["score_threshold"]
    browser.one(".settings tr", f"detector.score_threshold\t{own}\tthe model")


def test_pause_and_resume(site: Site) -> None:
    """The strip says that nobody looks, and until when, and goes on at a click."""
    browser = site.browser
    site.open()
    browser.one(".strip", "Watching.")
    browser.one("button", "Pause").click()
    browser.one(".strip", "Not looking: paused until")
    browser.one(".picture-message", "Paused.")
    assert browser.barriers() == []
    browser.save("paused")
    browser.one("button", "Resume").click()
    browser.one(".strip", "Watching.")


def test_why_an_event_was_published(site: Site) -> None:
    """The keyboard opens the reasons of an event, and leads back to it. A filter leaves only its label."""
    browser = site.browser
    site.open("events")
    browser.one(".event-time", ", for ")
    label = browser.value("const event = [...document.querySelectorAll('.event')].find((each) => "
                          "each.innerText.includes(', for ')); event.focus();"
                          "return event.querySelector('strong').textContent")
    browser.keys(Keys.ENTER)
    words = browser.one("dialog .why-words", "Median score").text
    assert re.search(r"threshold 0\.\d\d", words), words
    assert browser.barriers() == []
    browser.save("why")
    browser.keys(Keys.ESCAPE)
    assert wait_until(lambda: browser.value("return document.activeElement.className") == "event")
    browser.one(".events label:nth-of-type(3) select").send_keys(label)
    assert wait_until(lambda: browser.value("return [...new Set([...document.querySelectorAll('.event strong')]"
                                            ".map((each) => each.textContent))]") == [label])


def test_a_pause_is_hatched(site: Site) -> None:
    """The time axis of the events says when the device did not look, and why."""
    browser = site.browser
    site.open("events")
    browser.one("button", "Pause").click()
    browser.one("button", "Resume").click()
    browser.one(".strip", "Watching.")

    def is_hatched() -> bool:
        site.open("events")
        browser.one(".lanes-box svg")
        return bool(browser.value("return document.querySelector('.lane-gap[aria-label*=paused]') !== null"))
    assert wait_until(is_hatched)
    browser.one(".gaps summary").click()
    browser.one(".gaps li", "paused")


def test_without_a_mouse(site: Site) -> None:
    """Tab reaches the skip link and each section, in their order, and each shows that it has the focus."""
    browser = site.browser
    site.open()
    for _ in range(20):
        browser.keys(Keys.TAB)
        name, text, outline = browser.value("const {activeElement: at} = document; return [at.tagName, at.innerText,"
                                            "getComputedStyle(at).outlineStyle]")
        assert outline != "none", text
        if name == "A" and text.strip() in SECTIONS:
            browser.keys(Keys.ENTER)
            browser.one("h2", text.strip())
            if text.strip() == list(SECTIONS)[-1]:
                return
    pytest.fail("the tabs are out of reach")


def test_a_daemon_that_is_killed(site: Site) -> None:
    """The page says so in each section that can know it, keeps what it had, and goes on with the next run."""
    browser = site.browser
    site.open()
    site.show("Live")
    site.end_daemon()
    browser.one(".strip", "does not answer")
    browser.one(".picture-message", "does not answer")
    for section in SECTIONS:
        browser.one("nav a", section).click()
        browser.one("h2", section)
        browser.save(f"{section.lower()}-away")
    site.start_daemon()
    browser.one(".strip", "Watching.")
    site.show("Live")
    browser.forgive(503)


def test_the_login(site: Site, tmp_path: Path) -> None:
    """A wrong password is called so; the right one opens the page, until one logs out."""
    browser = site.browser
    done = subprocess.run([sys.executable, "-m", "vedette", "page", "--set-password", tmp_path / "password"],
                          input="a street with boxes\n", text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr
    with page_of(tmp_path, site.config, {"VEDETTE_PAGE__PASSWORD_FILE": str(tmp_path / "password")}) as address:
        site.addresses.append(address)
        browser.open(address)
        browser.one("input[type=password]").send_keys("a lane with boxes", Keys.ENTER)
        browser.one("[role=alert]", "wrong")
        assert browser.barriers() == []
        browser.save("login")
        browser.one("input[type=password]").send_keys("a street with boxes", Keys.ENTER)
        browser.one(".strip", "Watching.")
        browser.one("button", "Log out").click()
        browser.one("input[type=password]")
        browser.open("about:blank")
    browser.forgive(401)


def test_several_cameras(site: Site, tmp_path: Path) -> None:
    """They are tiles, also if they become known one after the other; a tile opens, and a person's choice stays."""
    browser = site.browser
    (tmp_path / "run").mkdir()
    yard = Site(browser, tmp_path, site.port)
    yard.config.write_text(site.config.read_text().replace("device: gate", "device: yard"))
    sockets = f"['{yard.socket}', '{site.socket}']"
    try:
        with page_of(tmp_path, site.config, {"VEDETTE_PAGE__DAEMONS": sockets}) as address:
            site.addresses.append(address)
            browser.open(address)
            browser.one(".picture")
            yard.start_daemon()
            browser.one(".tile", "gate")
            browser.one(".tile", "yard")
            assert wait_until(lambda: browser.value("return document.querySelectorAll('.picture.none').length") == 0)
            assert browser.barriers() == []
            browser.save("tiles")
            browser.one(".tile", "gate").click()
            browser.one(".live-list td")
            browser.open("about:blank")
            browser.open(address)
            browser.one("button", "All cameras").click()
            browser.one(".tile", "gate")
            yard.end_daemon()
            browser.one(".tile", "Daemon away")
            browser.save("tiles-away")
            browser.open("about:blank")
    finally:
        yard.end_daemon()
    browser.forgive(503)
