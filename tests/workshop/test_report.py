"""The report of a comparison is one file that asks nothing of anybody, and people can read it everywhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.browser.chromium import Scheme, chromium
from tests.support.models import bundles
from vedette.cli import main
from vedette.types import Box, Detection
from vedette.validate.agreement import match
from vedette.workshop.comparison import Compared, Comparison, Differing, hold
from vedette.workshop.report import html

if TYPE_CHECKING:
    from vedette.validate.average_precision import Precision

NAME = "<b>&street</b>.tflite"
THINGS = (Detection("car", 1, 0.9, Box(0.1, 0.1, 0.5, 0.6)), Detection("<dog>", 2, 0.6, Box(0.6, 0.6, 1.2, 1.3)))
OTHERS = (Detection("car", 1, 0.7, Box(0.1, 0.1, 0.5, 0.6)), Detection("cat", 3, 0.5, Box(0.0, 0.6, 0.2, 0.9)))


def step(letter: str, found: tuple[Detection, ...], precision: Precision | None = None) -> Compared:
    cause = "labels: it has 'cat' where the first step has '<dog>'" if letter == "B" else None
    return Compared(letter, NAME, "street", "tflite", False, "litert 2.3.0", "8x8x3 NHWC, rgb", None, None,
                    ("a <note>",), (0.5,) * 10, match(THINGS, found), (0.25,), (1.5,), precision, letter == "B", cause)


def comparison() -> Comparison:
    worst = Differing("garden", np.full((90, 160, 3), 90, np.uint8).data, (THINGS, OTHERS),
                      (match(THINGS, THINGS), match(THINGS, OTHERS)))
    return Comparison(1, (step("A", THINGS), step("B", OTHERS)), (worst,), {"mAP50": 0.5})


class Parts(HTMLParser):
    """Every attribute and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "srcset", "action", "data"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_is_fetched() -> None:
    """Pictures are in the page, and there is nothing that could ask."""
    page = html(comparison())
    parts = Parts(page)
    assert parts.links
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in parts.links)
    assert not {"script", "link", "iframe", "form", "img"} & set(parts.tags)
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


def test_texts_are_escaped() -> None:
    """Names, labels, notes and causes come out of files."""
    parts = Parts(html(comparison()))
    assert not {"b", "dog", "note"} & set(parts.tags)
    assert NAME in parts.text
    assert "<dog> 0.60" in parts.text
    assert "a <note>" in parts.text


def test_the_page_names_the_broken_step() -> None:
    """With its cause, what is common, what is missing and what is more."""
    text = Parts(html(comparison())).text
    assert f"It breaks at B, {NAME}: labels: it has 'cat'" in text
    assert "1 as A, 1 more, 1 missing" in text
    assert "1 in both, 1 in A only, 1 in B only" in text


def test_steps_are_held_against_the_training() -> None:
    """A metric that is measured gets the difference of each step, another one is shown as it is."""
    from vedette.validate.average_precision import Precision
    steps = (step("A", THINGS, Precision(0.3, 0.5, {})), step("B", OTHERS, Precision(0.25, 0.375, {})))
    held = Comparison(1, steps, (), {"metrics/mAP50(B)": 0.5, "box_loss": 1.25, "metrics/mAP50-95(B)": 0.25})
    assert list(hold(held)) == [
        "training: metrics/mAP50(B) 0.5; A 0.5000 (+0.0000), B 0.3750 (-0.1250)", "training: box_loss 1.25",
        "training: metrics/mAP50-95(B) 0.25; A 0.3000 (+0.0500), B 0.2500 (+0.0000)"]


@pytest.mark.slow
def test_people_can_read_it(tmp_path: Path) -> None:
    """Of the command, in a browser: wide and narrow, light and dark, without a request, a complaint or a barrier."""
    sound = bundles.pack(tmp_path)
    report = tmp_path / "report.html"
    assert main(["model", "compare", str(sound), str(bundles.altered(sound, color="bgr")),
                 str(bundles.picture(tmp_path)), "--html", str(report)]) == 0
    looks: tuple[tuple[int, Scheme], ...] = ((1280, "light"), (390, "dark"))
    with chromium(tmp_path) as browser:
        for width, scheme in looks:
            browser.look(width, 844, scheme)
            browser.open(report.as_uri())
            assert browser.value("return document.documentElement.scrollWidth") <= width
            assert browser.barriers() == []
            browser.save(f"compare-{scheme}")
        browser.collect()
    asked = [address for address in browser.asked_for if not address.startswith(("chrome", "data:"))]
    assert set(asked) == {report.as_uri()}
    assert browser.complaints == []


def test_a_report_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder that does not exist."""
    sound = bundles.pack(tmp_path)
    assert main(["model", "compare", str(sound), str(sound), str(bundles.picture(tmp_path)),
                 "--html", str(tmp_path / "no" / "report.html")]) == 64
    assert "--html" in capsys.readouterr().err
