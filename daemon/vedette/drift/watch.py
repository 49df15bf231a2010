"""Watches for drift, which degrades results silently: measures results and views, evaluates them, and saves hourly.

Invariants: `on_result` costs microseconds and waits for no disk; only the thread `drift` reads a model, and writes: at
most once an hour, at a clean stop, and when it must learn again; a disk that cannot be written costs no more than a
kill. Any thread may read, or give feedback.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from vedette._lib.worker import Worker
from vedette.drift.hours import HOUR_S
from vedette.drift.scores import OTHER, ModelScores, Terms
from vedette.messages.payloads import rounded
from vedette.types import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from vedette.config.models import Config, DetectorConfig
    from vedette.drift.ledger import Ledger
    from vedette.drift.picture import Picture
    from vedette.messages.health_shapes import DriftHealth, LabelDrift
    from vedette.ports import Camera
    from vedette.types import Box, DetectionResult, ReasonCode, View

log = logging.getLogger(__name__)

Part = Literal["scores", "picture", "all"]
STEP_S = 1.0
EVALUATE_S = 5.0
MINUTE_S = 60.0
DISK_WITHIN_S = 120.0
"""An SD card may block a write, or the reading of a model, for so long; the watchdog waits as long."""


@dataclass(slots=True)
class _Batch:
    """Results of one model in one region that are not yet counted: number and sum of scores by label; invoke times."""

    scores: dict[str, tuple[int, float]] = field(default_factory=dict)
    invoke_ms: deque[float] = field(default_factory=lambda: deque(maxlen=1024))


class DriftWatch:
    """A ports.ReasonSource. `bundled` returns the mean scores in the running model's bundle.

    `governed` returns whether the governor limits the rate.
    """

    def __init__(self, ledger: Ledger, camera: Camera, config: Config, *,
                 bundled: Callable[[DetectorConfig], Mapping[str, float]], governed: Callable[[], bool],
                 on_end: Callable[[Worker], None] | None = None) -> None:
        self.worker = Worker("drift", self._run, on_end=on_end)
        self._ledger = ledger
        self._camera = camera
        self._config = config
        self._bundled = bundled
        self._governed = governed
        self._batches_lock = threading.Lock()
        self._batches: dict[tuple[str, Box], _Batch] = {}
        self._lock = threading.Lock()       # guards the ledger and the fields below
        self._model: ModelScores | None = ledger.models[-1] if ledger.models else None
        self._picture: Picture = ledger.picture_of(_view_key(config))
        self._given: tuple[str, Mapping[str, float]] = "", {}      # a model's key, and the mean scores in its bundle
        self._view: View | None = None
        now_s = ledger.now_s()
        self._evaluate_s = now_s
        self._minute_s = now_s + MINUTE_S
        # Counted from the last save of any run: a device whose runs end within the hour must learn too.
        self._save_s = now_s + MINUTE_S if ledger.written_s is None else ledger.written_s + HOUR_S

    def __repr__(self) -> str:
        return f"<DriftWatch {self._ledger!r} {self._picture.changes}>"

    def reload(self, config: Config) -> None:
        """Apply the live keys of a configuration. Any thread."""
        self._config = config

    def on_result(self, result: DetectionResult) -> None:
        """Count a result of the device's own model. Any thread.

        At a governed rate its time is not counted, nor after a still frame: the processor rests between frames, and
        lowers its clock.
        """
        if result.source != "local" or result.model is None:
            return
        with self._batches_lock:
            batch = self._batches.setdefault((result.model.sha256, result.roi), _Batch())
            if not (self._governed() or result.frame.after_still):
                batch.invoke_ms.append(result.timing.invoke_ms)
            for found in result.detections:
                number, total = batch.scores.get(found.label, (0, 0.0))
                batch.scores[found.label] = number + 1, total + (found.score or 0.0)

    def feedback(self, run: int, seq: int, *, right: bool, label: str = "") -> tuple[bool, int, int]:
        """Count feedback on a result; returns whether it is new, the total and the wrong ones. Any thread."""
        with self._lock:
            now_s = self._ledger.now_s()
            is_new = self._ledger.feedback.add(now_s, run, seq, right=right, label=label)
            return is_new, *self._ledger.feedback.read(now_s)

    def relearn(self, part: Part) -> None:
        """Learn the present state again, as the correct one. Any thread."""
        with self._lock:
            if part != "picture":
                self._ledger.models, self._model = [], None
            if part != "scores":
                self._ledger.picture = None
                self._picture = self._ledger.picture_of(_view_key(self._config))
            self._save_s = self._ledger.now_s()
        log.info("%s: learning again from now on", part)

    def step(self) -> None:
        """Count new results and views, and evaluate them when due. Returns at once, but not after a model change."""
        self._read_bundled()
        with self._lock:
            now_s, health = self._ledger.now_s(), self._config.health
            learn_s = health.learn_hours * HOUR_S
            self._count_results(now_s)
            status = self._camera.status()
            if status.view is not None and status.view is not self._view and status.brightness is not None:
                self._view = status.view
                light = status.brightness, status.contrast or 0.0
                self._picture.observe(now_s, status.view, light, after_s=health.image_drift_after_s, learn_s=learn_s)
            if now_s >= self._evaluate_s:
                self._evaluate_s = now_s + EVALUATE_S
                self._picture.evaluate(now_s, learn_s)
                if self._model is not None:
                    self._model.evaluate(now_s, self._terms())

    @property
    def save_due(self) -> bool:
        """Whether an hour has passed since the last save."""
        return self._ledger.now_s() >= self._save_s

    def save(self) -> None:
        """Write everything to disk."""
        with self._lock:
            now_s = self._ledger.now_s()
            self._save_s = now_s + HOUR_S
            for model in self._ledger.models:
                model.fold(now_s)
            content = self._ledger.content()
        try:
            self._ledger.save(content)
        except OSError as error:
            log.warning("the learnt values of scores and picture are not saved: %s", error)

    def reasons(self) -> dict[ReasonCode, str]:
        """As ports.ReasonSource. Any thread."""
        with self._lock:
            change = self._picture.message()
            reasons = self._model.reasons(self._ledger.now_s(), self._terms()) if self._model else {}
            return reasons | ({"image_drift": change} if change else {})

    def health(self) -> DriftHealth:
        """Return the section of the health message. Any thread."""
        with self._lock:
            now_s, learn_s = self._ledger.now_s(), self._config.health.learn_hours * HOUR_S
            model, picture = self._model or ModelScores(key=""), self._picture
            count, wrong = self._ledger.feedback.read(now_s)
            latency = model.invoke_ms
            began_s = picture.began_s if picture.began_s is not None else now_s
            return {
                "learning_hours": _hours(latency.learnt.left_s(now_s, learn_s)) if self._model else None,
                "labels": {label: self._label(model, label, now_s) for label in model.labels},
                "latency": {"mean_ms": rounded(latency.mean(now_s), 2),
                            "baseline_ms": rounded(latency.learnt.mean, 2)},
                "image": {"changes": picture.changes, "likeness": rounded(picture.likeness, 3),
                          "focus": self._view.focus if self._view else None, "references": len(picture.references),
                          "learning_hours": _hours(began_s + learn_s - now_s) if began_s + learn_s > now_s else None},
                "feedback": {"count": count, "wrong": wrong,
                             "error_rate": round(wrong / count, 4) if count else None},
            }

    def _run(self, worker: Worker) -> None:
        try:
            while not worker.stopping.is_set():
                worker.beat()
                self.step()
                if self.save_due:
                    worker.beat(DISK_WITHIN_S)
                    self.save()
                worker.stopping.wait(STEP_S)
        finally:
            self.step()
            self.save()

    def _count_results(self, now_s: float) -> None:
        a_minute = now_s >= self._minute_s
        with self._batches_lock:
            batches = {key: (each.scores, tuple(each.invoke_ms) if a_minute else ())
                       for key, each in self._batches.items()}
            if a_minute:
                self._batches = {}
            for each in self._batches.values():
                each.scores = {}
        if a_minute:
            self._minute_s = now_s + MINUTE_S
        for (sha256, roi), (scores, invoke_ms) in batches.items():
            if scores or invoke_ms:
                self._model = self._ledger.model(f"{sha256}:{_limits_key(self._config, roi)}")
                self._model.add_scores(now_s, scores)
                if invoke_ms:
                    self._model.add_invoke_ms(now_s, median(invoke_ms))

    def _read_bundled(self) -> None:
        """Read the mean scores in the running model's bundle, once. Outside the lock: it reads a whole file."""
        model = self._model
        if model is not None and self._config.health.baseline == "bundle" \
                and self._given[0] != model.key:
            self.worker.beat(DISK_WITHIN_S)
            self._given = model.key, self._bundled(self._config.detector)

    def _terms(self) -> Terms:
        health = self._config.health
        learn_s = health.learn_hours * HOUR_S
        if health.baseline == "learnt" or self._model is None:
            return Terms(learn_s)
        key, given = self._given
        return Terms(learn_s, given if key == self._model.key else {})

    def _label(self, model: ModelScores, label: str, now_s: float) -> LabelDrift:
        series = model.labels[label]
        baseline = None if label == OTHER else self._terms().baseline_of(label, series)
        return {"mean": rounded(series.mean(now_s), 4), "baseline": rounded(baseline, 4),
                "count": series.hours.read(now_s)[0]}


def _limits_key(config: Config, roi: Box) -> str:
    """Return a digest of all that decides which detections are scored: another threshold gives another mean."""
    detector = config.detector
    return _digest(detector.score_threshold, detector.labels, detector.allow, detector.deny,
                   None if roi == WHOLE else roi)


def _view_key(config: Config) -> str:
    """Return a digest of all that decides what the camera shows."""
    camera = config.camera
    return _digest(camera.source, camera.rotate, camera.masks)


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / HOUR_S, 2)
