"""Writes a comparison as one HTML file: the table, the curves of the scores, the pictures with the largest differences.

Invariants: the file asks nothing of anybody. It has no script, its pictures are in it, and its policy forbids any
request. Every text is escaped. It is readable in light and dark, and on a screen of 390 pixels.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from vedette.vision import jpeg
from vedette.vision.geometry import clip
from vedette.workshop.comparison import hold

if TYPE_CHECKING:
    from vedette.types import Detection
    from vedette.validate.agreement import Agreement
    from vedette.workshop.comparison import Compared, Comparison, Differing

LONGEST_PX, QUALITY = 480, 80
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 440, 170, 34, 22      # of a chart, and its margins
_TEXT_PX = 7.4      # of a letter of a label, at a font size of 13

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1c1e; --soft: #5c6166; --line: #d8dbde; --shade: #f3f5f6;
  --same: #0b63c5; --more: #b04a00; --less: #b3123f; --good: #1c6b2a; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --ink: #e8eaec; --soft: #a3a9ae; --line: #3a3f44;
  --shade: #202428; --same: #6db1ff; --more: #ffa35c; --less: #ff7f9f; --good: #7fd18e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; max-width: 60rem; } .soft { color: var(--soft); }
.verdict { border-left: 4px solid var(--good); background: var(--shade); padding: .5rem .75rem;
  overflow-wrap: anywhere; }
.verdict.broken { border-color: var(--less); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; } th { color: var(--soft); font-weight: 600; }
td.text { white-space: normal; min-width: 12rem; overflow-wrap: anywhere; }
.broken td:first-child { color: var(--less); font-weight: 600; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figcaption { color: var(--soft); overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; } svg.store { position: absolute; width: 0; height: 0; }
svg text { font: 13px system-ui, sans-serif; } .chart text { fill: var(--soft); }
.axis { stroke: var(--line); } .first { fill: none; stroke: var(--soft); stroke-width: 2; }
.same { fill: var(--same); } .more { fill: var(--more); } .less { fill: var(--less); }
.box { fill: none; stroke-width: 2.5; } .box.same { stroke: #3d9bff; } .box.more { stroke: #ff8a2b; }
.box.less { stroke: #ff4f7b; stroke-dasharray: 7 4; }
.tag { fill: #000; fill-opacity: .65; } .name { fill: #fff; }
"""


def html(comparison: Comparison) -> str:
    """Return the whole page."""
    return "\n".join(_page(comparison)) + "\n"


def _page(comparison: Comparison) -> Iterator[str]:
    names = " · ".join(f"{step.letter} {step.name}" for step in comparison.steps)
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield ('<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
           'style-src \'unsafe-inline\'">')
    yield f"<title>{escape(names)}</title><style>{STYLE}</style></head><body><main>"
    yield f"<h1>Step by step</h1><p class=soft>{escape(names)}, on {comparison.frames} pictures.</p>"
    yield _verdict(comparison)
    yield from _table(comparison)
    yield from _inputs(comparison)
    yield from _curves(comparison)
    yield from _pictures(comparison)
    yield "</main></body></html>"


def _verdict(comparison: Comparison) -> str:
    broken = comparison.broken
    if broken is None:
        return '<p class="verdict">Every step agrees with A.</p>'
    cause = escape(broken.cause or "no cause found")
    return f'<p class="verdict broken">It breaks at {broken.letter}, {escape(broken.name)}: {cause}.</p>'


def _table(comparison: Comparison) -> Iterator[str]:
    heads = ("found", "F1", "box px", "score", "AP", "AP50", "ms")
    yield '<h2>Figures</h2><div class="wide" tabindex="0" role="region" aria-label="Figures"><table><thead><tr>'
    yield f'<th class="text">step</th>{"".join(f"<th>{head}</th>" for head in heads)}<th class="text">cause</th></tr>'
    yield "</thead><tbody>"
    for step in comparison.steps:
        row = step.plain()
        values = (str(row["detections"]), *(_number(row[key]) for key in (
            "f1", "box_px", "score_difference", "ap", "ap50", "invoke_ms")))
        yield (f'<tr{" class=broken" if step.breaks else ""}><td>{step.letter} {escape(step.name)}'
               f'{" (breaks)" if step.breaks else ""}</td>{"".join(f"<td>{value}</td>" for value in values)}'
               f'<td class="text">{escape(step.cause or "")}</td></tr>')
    yield "</tbody></table></div>"
    yield ("<p class=soft>F1, box px and score compare with A: the agreement, and the largest difference of a side of "
           "two common boxes, in pixels of the input, and of two common scores.</p>")
    for line in hold(comparison):
        yield f"<p>{escape(line)}</p>"


def _inputs(comparison: Comparison) -> Iterator[str]:
    yield "<h2>Prepared inputs</h2>"
    yield "<p class=soft>The first ten values where the first picture begins: row, pixel, channel.</p>"
    yield '<div class="wide" tabindex="0" role="region" aria-label="Prepared inputs"><table><tbody>'
    for step in comparison.steps:
        how = ", ".join(filter(None, (step.prepared, step.runtime)))
        values = "".join(f"<td>{value:.4f}</td>" for value in step.first_values) or '<td class="text">not known</td>'
        yield f'<tr><td>{step.letter}</td>{values}<td class="text">{escape(how)}</td></tr>'
    yield "</tbody></table></div>"
    for step in comparison.steps:
        for note in step.notes:
            yield f"<p class=soft>{step.letter}: {escape(note)}</p>"


def _curves(comparison: Comparison) -> Iterator[str]:
    yield "<h2>Scores</h2>"
    yield ("<p class=soft>The line has the things that A finds, best score first. A dot is the score of the same thing "
           "in the other step: at the bottom where it misses it, and to the right of the line where only it finds "
           "it.</p><div class=row>")
    for step in comparison.steps[1:]:
        yield f"<figure><h3>{step.letter} {escape(step.name)}</h3>{_curve(step)}</figure>"
    yield "</div>"


def _curve(step: Compared) -> str:
    agreement = step.agreement
    rows = sorted([(pair.one.score or 0.0, pair.other.score or 0.0) for pair in agreement.pairs]
                  + [(found.score or 0.0, None) for found in agreement.only_one], key=_first, reverse=True)
    extra = sorted((found.score or 0.0 for found in agreement.only_other), reverse=True)
    across = (_WIDTH - _LEFT - 8) / max(1, len(rows) + len(extra))
    line = " ".join(f"{_x(place, across):.1f},{_y(score):.1f}" for place, (score, _) in enumerate(rows))
    dots = "".join(_dot(place, across, other, "less" if other is None else "same")
                   for place, (_, other) in enumerate(rows))
    dots += "".join(_dot(len(rows) + place, across, score, "more") for place, score in enumerate(extra))
    grid = "".join(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{_y(level):.1f}" y2="{_y(level):.1f}"/>'
                   f'<text x="{_LEFT - 6}" y="{_y(level) + 4:.1f}" text-anchor="end">{level:g}</text>'
                   for level in (0, 0.5, 1))
    words = (f"{len(agreement.pairs)} in both, {len(agreement.only_one)} in A only, "
             f"{len(agreement.only_other)} in {step.letter} only")
    return (f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Scores of {step.letter}: '
            f'{words}">{grid}<polyline class="first" points="{line}"/>{dots}</svg><figcaption>{words}</figcaption>')


def _first(row: tuple[float, float | None]) -> float:
    return row[0]


def _x(place: int, across: float) -> float:
    return _LEFT + 4 + (place + 0.5) * across


def _y(score: float) -> float:
    return 8 + (1 - score) * (_HEIGHT - _BOTTOM - 8)


def _dot(place: int, across: float, score: float | None, kind: str) -> str:
    return f'<circle class="{kind}" cx="{_x(place, across):.1f}" cy="{_y(score or 0.0):.1f}" r="3"/>'


def _pictures(comparison: Comparison) -> Iterator[str]:
    if not comparison.worst:
        return
    yield "<h2>Where they differ most</h2>"
    yield ("<p class=soft>A blue box is in both A and the step. An orange one is in the step only, and a dashed red "
           "one is in A only.</p>")
    for number, worst in enumerate(comparison.worst, 1):
        yield from _picture(number, worst, comparison.steps)


def _picture(number: int, worst: Differing, steps: Sequence[Compared]) -> Iterator[str]:
    picture = jpeg.shrunk(np.asarray(worst.pixels), LONGEST_PX)
    height, width = picture.shape[:2]
    content = b64encode(jpeg.encode(picture.data, QUALITY)).decode()
    yield f"<h3>{escape(worst.name)}</h3>"
    yield (f'<svg class="store" aria-hidden="true"><symbol id="picture{number}" viewBox="0 0 {width} {height}">'
           f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{content}"/></symbol></svg>')
    yield "<div class=row>"
    for step, detections, agreement in zip(steps, worst.detections, worst.agreements, strict=True):
        boxes = "".join(_boxes(agreement, detections, width, height, is_first=step is steps[0]))
        words = f"{len(detections)} found" if step is steps[0] else (
            f"{len(agreement.pairs)} as A, {len(agreement.only_other)} more, {len(agreement.only_one)} missing")
        label = f"{step.letter} {step.name}: {words}"
        yield (f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
               f'<use href="#picture{number}" width="{width}" height="{height}"/>{boxes}</svg>'
               f"<figcaption>{escape(label)}</figcaption></figure>")
    yield "</div>"


def _boxes(agreement: Agreement, detections: Sequence[Detection], width: int, height: int, *,
           is_first: bool) -> Iterator[str]:
    kinds = [("same", detections)] if is_first else [
        ("less", agreement.only_one), ("same", [pair.other for pair in agreement.pairs]),
        ("more", agreement.only_other)]
    for kind, found in kinds:
        for each in found:
            yield _box(each, kind, width, height)


def _box(found: Detection, kind: str, width: int, height: int) -> str:
    box = clip(found.box)
    left, top = box.xmin * width, box.ymin * height
    tall = max(0.0, box.ymax * height - top)
    text = found.label if found.score is None else f"{found.label} {found.score:.2f}"
    floor = max(top, 16.0)
    across = min(left, max(0.0, width - len(text) * _TEXT_PX - 6))
    return (f'<rect class="box {kind}" x="{left:.1f}" y="{top:.1f}" width="{max(0.0, box.xmax * width - left):.1f}" '
            f'height="{tall:.1f}"/><rect class="tag" x="{across:.1f}" y="{floor - 16:.1f}" '
            f'width="{len(text) * _TEXT_PX + 6:.1f}" height="16"/><text class="name" x="{across + 3:.1f}" '
            f'y="{floor - 4:.1f}">{escape(text)}</text>')


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
