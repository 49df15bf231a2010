"""Checks what a subscriber received: every result and every count is compared with the truth of its frame.

The truth is where lamps (bright_squares.py) were lit, as cells of the model's grid. It comes from the capture child's
notes on each frame, from a film's frame numbers, or from the last pictures of a stream. A lie is an empty result for a
frame with a lamp, boxes that its frame does not have, a frame that no camera took, or a number that goes back. So is a
retained count while health reports that nothing detects, and any count of a frozen camera.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tests.support.truth.bright_squares import CELLS
from tests.support.waiting.fair_clock import starved_s

Lit = frozenset[tuple[int, int]]
"""Rows and columns of lit cells."""
NOTHING: Lit = frozenset()
SAME_FRAME_S = 0.01
"""What rounding to milliseconds costs, and reading two clocks in the daemon, between which it may lose its processor.
"""
JUST_SHOWN_S = 1.5
KEPT = 20_000
NOT_DETECTING = frozenset({"camera_offline", "camera_stalled", "camera_frozen", "no_model", "model_refused",
                           "detector_failing", "all_stale", "paused"})
FALLBACKS = frozenset({"fallback_cloud", "fallback_motion"})


class Truth(Protocol):
    """Knows frames."""

    def of(self, captured_at: datetime, seq: int | None) -> Collection[Lit] | None:
        """Return the possible lit cells of that frame; empty: there was no such frame; None: unknown."""


def _wall_ahead_s() -> float:
    """By how much the wall clock is ahead of the monotonic one: of several tries the one that took the least time."""
    tries = [(time.monotonic(), time.time(), time.monotonic()) for _ in range(5)]
    before_s, wall_s, after_s = min(tries, key=lambda each: each[2] - each[0])
    return wall_s - (before_s + after_s) / 2


class Noted:
    """The notes of the faulty capture child on each frame: monotonic nanoseconds, and the lit cell or none."""

    def __init__(self, order: Path) -> None:
        self._path = order.with_name(f"{order.name}.truth")
        self._read = 0
        self._rest = ""
        self._frames: dict[int, list[tuple[float, Lit | None]]] = {}

    def of(self, captured_at: datetime, seq: int | None) -> Collection[Lit] | None:
        """Implements `Truth`."""
        self._take_notes()
        moment_s = captured_at.timestamp() - _wall_ahead_s()
        near = [lit for bucket in (int(moment_s) - 1, int(moment_s), int(moment_s) + 1)
                for at_s, lit in self._frames.get(bucket, ()) if abs(at_s - moment_s) <= SAME_FRAME_S]
        return None if None in near else [lit for lit in near if lit is not None]

    def _take_notes(self) -> None:
        if not self._path.exists():
            return
        with self._path.open() as notes:
            notes.seek(self._read)
            *lines, self._rest = (self._rest + notes.read()).split("\n")
            self._read = notes.tell()
        for line in lines:
            stamp, cell = line.split()
            at_s = int(stamp) / 1e9
            lit = None if cell == "?" else NOTHING if cell == "-" else frozenset({divmod(int(cell), CELLS)})
            self._frames.setdefault(int(at_s), []).append((at_s, lit))
        while len(self._frames) > KEPT // 30:
            del self._frames[next(iter(self._frames))]


class Film:
    """A film that is played over and over from its first frame: the truth belongs to the number."""

    def __init__(self, frames: Sequence[Lit]) -> None:
        self._frames = frames

    def of(self, captured_at: datetime, seq: int | None) -> Collection[Lit] | None:
        """Implements `Truth`."""
        return set(self._frames) if seq is None else [self._frames[(seq - 1) % len(self._frames)]]


class Shown:
    """A stream whose frames have no number: any picture of the last moment may be the one. `shown()`: (time, cell).

    The moment is longer by the time for which this process had no processor since the start.
    """

    def __init__(self, shown: Callable[[], Iterable[tuple[float, int]]]) -> None:
        self._shown = shown
        self._before_s = starved_s()

    def of(self, captured_at: datetime, seq: int | None) -> Collection[Lit] | None:
        """Implements `Truth`."""
        at_s = captured_at.timestamp()
        return {frozenset({divmod(cell, CELLS)}) for shown_s, cell in self._shown()
                if -JUST_SHOWN_S - starved_s() + self._before_s <= shown_s - at_s <= SAME_FRAME_S}


def lit_clip(frames: int = 30) -> Film:
    """Return the truth of bright_squares.write_clip."""
    return Film([frozenset({(1, number // 4 % CELLS)}) for number in range(frames)])


class TruthChecker:
    """Compares a device's messages with the truth and keeps the `lies`. `checked` counts the compared ones.

    `blind`: versions of models that detect nothing: their empty results are no lies.
    """

    def __init__(self, truth: Truth, *, blind: Collection[str] = ()) -> None:
        self.lies: list[str] = []
        self.checked = 0
        self.frozen_healths = 0     # that said that the camera is frozen
        self._truth = truth
        self._blind = blind
        self._last: tuple[int, int] = (0, 0)
        self._counts: dict[str, Any] | None = None
        self._doubted: dict[str, Any] | None = None
        self._counted: list[dict[str, Any]] = []
        self._frozen_since: str | None = None
        self._source: str | None = None
        self._version: str | None = None

    @property
    def silent(self) -> bool:
        """Whether the last counts are null."""
        return self._counts is not None and self._counts["counts"] is None

    def check_all(self, messages: Iterable[Any]) -> list[str]:
        """Check messages (mqtt.command_filter.Incoming) in order; returns the lies so far."""
        for message in messages:
            self.check(message.topic.rpartition("/")[2], message.payload)
        return self.lies

    def check(self, topic: str, payload: bytes) -> None:
        """Check one message."""
        match topic:
            case "detections":
                self._check_result(json.loads(payload))
            case "counts":
                self._check_counts(json.loads(payload))
            case "health":
                self._check_health(json.loads(payload))

    def _check_result(self, result: dict[str, Any]) -> None:
        frame, title = result["frame"], f"{result['source']} result {result['run']}/{result['seq']}"
        self._source, self._version = result["source"], (result["model"] or {}).get("version")
        if result["source"] == "local" and not result["backfilled"]:
            number = (result["run"], frame["seq"])
            if number <= self._last:
                self.lies.append(f"{title}: frame {number} after {self._last}")
            self._last = number
        may_be = self._truth.of(datetime.fromisoformat(frame["captured_at"]), frame["seq"])
        if may_be is None:
            return
        self.checked += 1
        if not may_be:
            self.lies.append(f"{title}: no camera took a frame at {frame['captured_at']}")
        elif result["source"] != "motion" and not (self._version in self._blind and not result["detections"]):
            seen = frozenset(_cell(found["box"]) for found in result["detections"])
            if seen not in may_be:
                self.lies.append(f"{title}: says {_lamps(seen)} of frame {frame['seq']}, which had "
                                 f"{' or '.join(map(_lamps, may_be))}")

    def _check_counts(self, message: dict[str, Any]) -> None:
        self._counts = message
        if message["counts"] is None or self._source == "motion":     # which counts motion, not lamps
            return
        self._counted.append(message)
        may_be = self._truth.of(datetime.fromisoformat(message["captured_at"]), None)
        if may_be is None:
            return
        self.checked += 1
        if sum(message["counts"].values()) not in {len(lit) for lit in may_be} and self._version not in self._blind:
            self.lies.append(f"counts {message['counts']} of {message['captured_at']}; "
                             f"it had {' or '.join(map(_lamps, may_be)) or 'no frame'}")

    def _check_health(self, health: dict[str, Any]) -> None:
        """Twice in a row, since a result may come just as the state changes."""
        reasons = {each["code"]: each["since"] for each in health["reasons"]}
        blind_since = [since for code, since in reasons.items() if code in NOT_DETECTING]
        doubted = None
        if blind_since and not FALLBACKS & reasons.keys() and self._counts and self._counts["counts"] is not None \
                and self._counts["captured_at"] < min(blind_since):
            doubted = self._counts
        if doubted is not None and doubted is self._doubted:
            self.lies.append(f"counts {doubted['counts']} of {doubted['captured_at']} still stand, while health says "
                             f"{', '.join(reasons)}")
        self._doubted = doubted
        frozen_since = reasons.get("camera_frozen")
        if frozen_since is not None and frozen_since == self._frozen_since and self._counted:
            self.lies.append(f"{len(self._counted)} counts of a picture that is frozen since {frozen_since}")
        self._frozen_since, self._counted = frozen_since, []
        self.frozen_healths += frozen_since is not None


def _cell(box: Sequence[float]) -> tuple[int, int]:
    xmin, ymin, xmax, ymax = box
    return int((ymin + ymax) / 2 * CELLS), int((xmin + xmax) / 2 * CELLS)


def _lamps(lit: Lit) -> str:
    return "nothing" if not lit else " and ".join(f"a lamp at {row}, {column}" for row, column in sorted(lit))
