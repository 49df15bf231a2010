"""The display of the demo: on a terminal one screen that is redrawn, elsewhere a plain line every second.

Invariants: a line is cut only at the terminal's last column, and the screen only at its last row. Unprintable text from
the network never reaches the terminal. The terminal is restored at the end.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.demo_figures import Hits, Reading
    from vedette.messages.health_shapes import Percentiles
    from vedette.types import Box

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
STATE_STYLES = {"ok": GREEN, "degraded": YELLOW, "failed": RED}
MAP_COLUMNS, MAP_ROWS = 48, 13      # about 16:9, since a character is twice as high as wide
BAR = 10
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _END_LINE, _END_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


@dataclass(frozen=True, slots=True)
class Span:
    """Text in one style."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


class Screen:
    """One screen of a terminal, inside a `with`."""

    period_s = 0.5

    def __init__(self, source: str, port: int, address: str, stream: TextIO = sys.stdout) -> None:
        self._source, self._port, self._address, self._stream = source, port, address, stream

    def __enter__(self) -> Self:
        self._write(_ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        self._write(_LEAVE)

    def show(self, reading: Reading) -> None:
        """Draw the screen over the last one."""
        columns, rows = shutil.get_terminal_size()
        lines = [_painted(line, columns) for line in page(reading, self._source, self._port, self._address)[:rows]]
        self._write(_HOME + f"{_END_LINE}\n".join(lines) + _END_LINE + _END_SCREEN)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Lines:
    """A plain line for each reading."""

    period_s = 1.0

    def __init__(self, _source: str, _port: int, _address: str, stream: TextIO = sys.stdout) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, reading: Reading) -> None:
        """Print the line."""
        print(_printable(line_of(reading)), file=self._stream, flush=True)


def page(reading: Reading, source: str, port: int, address: str) -> list[Line]:
    """Return the screen, the least important lines last."""
    street = zip_longest(_map(reading), _listed(reading), fillvalue=())
    return [
        (Span("VEDETTE", BOLD), Span(f"  {_watching(reading, source)}", DIM)),
        _row("page", address, "the picture, in a browser"),
        (Span("health    "), *_health(reading)),
        _row("results", f"{reading.per_s:.1f} per second", _since(reading)),
        _row("age", _delays(reading.age_ms), "capture to result"),
        _row("latency", _delays(reading.latency_ms), "capture to this subscriber"),
        _row("invoke", _delays(reading.invoke_ms), "the interpreter alone"),
        _row("dropped", _dropped(reading), ""),
        (_row("truth", _hits(reading.hits), f"the last minute, {reading.hits.frames} frames")
         if reading.hits else _row("truth", "not known for this source", "")), (),
        *((*left, Span("  "), *right) for left, right in street),
        (Span(f"Ctrl-C ends it.  vedette tail --port {port}", DIM),)]


def line_of(reading: Reading) -> str:
    """Return all figures but the boxes as one line."""
    parts = [f"{reading.per_s:.1f}/s", f"age {_delays(reading.age_ms)}", f"latency {_delays(reading.latency_ms)}",
             f"health {''.join(span.text for span in _health(reading))}", f"dropped {_dropped(reading)}"]
    if reading.hits:
        parts.append(f"{_hits(reading.hits)} over {reading.hits.frames} frames")
    return "  ".join((*parts, ", ".join(f"{each.label} {each.score or 0:.2f}" for each in reading.detections) or "-"))


def summary(reading: Reading) -> str:
    """Return the text that stays on the terminal at the end."""
    return _printable(f"{_since(reading) or 'no result came'}; at the end: {line_of(reading)}")


def _row(name: str, value: str, note: str) -> Line:
    return Span(f"{name:10}"), Span(f"{value:34}", BOLD), Span(note, DIM)


def _watching(reading: Reading, source: str) -> str:
    if reading.result is None or reading.health is None:
        return f"{source}, starting"
    frame, model, inference = reading.result["frame"], reading.result["model"], reading.health["inference"]
    return (f"{source} {frame['width']}x{frame['height']}, {model['name'] if model else 'no model'} on "
            f"{inference['runtime']} {inference['runtime_version']}, {inference['xnnpack_share'] or 0:.0%} XNNPACK")


def _health(reading: Reading) -> Line:
    if reading.health is None:
        return (Span("no message yet", DIM),)
    state, reasons = reading.health["state"], reading.health["reasons"]
    text = ", ".join(f"{each['code']} ({each['detail']})" if each["detail"] else each["code"] for each in reasons)
    return Span(state, STATE_STYLES[state]), Span(f": {text}" if text else "")


def _since(reading: Reading) -> str:
    if reading.result is None or reading.first_after_s is None:
        return ""
    return f"{reading.result['seq']} results, the first after {reading.first_after_s:.1f} s"


def _delays(delays: Percentiles | None) -> str:
    return f"p50 {delays['p50']:.1f} p95 {delays['p95']:.1f} ms" if delays else "-"


def _dropped(reading: Reading) -> str:
    dropped = reading.result["dropped"] if reading.result else {}
    return ", ".join(f"{count} {cause}" for cause, count in dropped.items() if count) or "none"


def _hits(hits: Hits) -> str:
    recall, precision = (f"{share:.2f}" if share is not None else "-" for share in (hits.recall, hits.precision))
    return f"recall {recall} precision {precision}"


def _listed(reading: Reading) -> list[Line]:
    """Return the newest detections, best first, at most as many as the map has rows."""
    lines: list[Line] = [(Span(f"{each.label[:12]:12} "), Span(f"{each.score or 0:.2f} "),
                          Span("█" * round((each.score or 0) * BAR), CYAN)) for each in reading.detections]
    if len(lines) > MAP_ROWS:
        lines[MAP_ROWS - 1:] = [(Span(f"and {len(lines) - MAP_ROWS + 1} more", DIM),)]
    return lines


def _map(reading: Reading) -> list[Line]:
    """Draw the boxes of the newest frame: right ones green, wrong ones red, missed ones as dots; cyan without truth."""
    cells = [[Span(" ")] * MAP_COLUMNS for _ in range(MAP_ROWS)]
    agreement = reading.agreement
    if agreement is None:
        _outline(cells, ((each.label, each.box) for each in reading.detections), "─│┌┐└┘", CYAN)
    else:
        _outline(cells, ((each.label, each.box) for each in agreement.only_one), "······", DIM)
        _outline(cells, ((each.label, each.box) for each in agreement.only_other), "─│┌┐└┘", RED)
        _outline(cells, ((pair.other.label, pair.other.box) for pair in agreement.pairs), "─│┌┐└┘", GREEN)
    return [_merged(row) for row in cells]


def _merged(cells: Iterable[Span]) -> Line:
    """Join neighbours of the same style into one span."""
    return tuple(Span("".join(cell.text for cell in run), style)
                 for style, run in groupby(cells, attrgetter("style")))


def _outline(cells: list[list[Span]], boxes: Iterable[tuple[str, Box]], strokes: str, style: str) -> None:
    across, down, corners = strokes[0], strokes[1], strokes[2:]
    for label, box in boxes:
        left, right = (min(int(x * MAP_COLUMNS), MAP_COLUMNS - 1) for x in (box.xmin, box.xmax))
        top, bottom = (min(int(y * MAP_ROWS), MAP_ROWS - 1) for y in (box.ymin, box.ymax))
        for column in range(left, right + 1):
            cells[top][column] = cells[bottom][column] = Span(across, style)
        for row in range(top, bottom + 1):
            cells[row][left] = cells[row][right] = Span(down, style)
        for (row, column), corner in zip(((top, left), (top, right), (bottom, left), (bottom, right)), corners,
                                         strict=True):
            cells[row][column] = Span(corner, style)
        for column, letter in zip(range(left + 1, right), label, strict=False):
            cells[top][column] = Span(letter, style)


def _painted(line: Sequence[Span], columns: int) -> str:
    """Return the line with its styles, cut to the terminal's width."""
    painted = ""
    for span in line:
        text = _printable(span.text)[:columns]
        columns -= len(text)
        painted += f"\x1b[{span.style}m{text}\x1b[0m" if span.style and text else text
    return painted


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
