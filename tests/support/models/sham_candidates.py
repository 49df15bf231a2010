"""Candidates without a child process: what each one detects follows the score threshold that it was opened with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

from tests.support.present import present
from vedette.config.camera_values import region_of
from vedette.config.models import CameraConfig, Config, DetectorConfig
from vedette.errors import ModelError, ModelUnproven, RuntimeMissing, UpdateRefused
from vedette.store.model_store import ModelStore
from vedette.store.release import ShadowRequirement
from vedette.store.state import Installed
from vedette.types import WHOLE, Box, Detection
from vedette.update.prove import Candidates
from vedette.validate.candidate import Candidate, Comparison, ProbeReport
from vedette.validate.frame_tap import TappedFrame
from vedette.vision.probe import Proof

PERSON = Detection("person", 0, 0.8, Box(0.1, 0.1, 0.3, 0.5))


def configured(score_threshold: float = 0.5, roi: Box = WHOLE) -> Config:
    return Config(detector=DetectorConfig(score_threshold=score_threshold), camera=CameraConfig(roi=roi))


def detected(config: Config) -> tuple[Detection, ...]:
    """What any model detects here with this configuration: a person, if the threshold lets it through."""
    return (PERSON,) if present(PERSON.score) >= config.detector.score_threshold else ()


class ShamCandidate:
    """Raises when it is used after its end."""

    def __init__(self, detections: tuple[Detection, ...], roi: Box,
                 failure: ModelError | RuntimeMissing | UpdateRefused | None) -> None:
        self.detections = detections
        self.roi = roi
        self.failure = failure
        self.comparisons = 0
        self.is_closed = self.is_interrupted = False
        self.on_compare: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def compare(self, tapped: TappedFrame) -> Comparison:
        assert not self.is_closed
        self.on_compare()
        if self.is_interrupted:
            raise ModelUnproven("interrupted")
        self.comparisons += 1
        return Comparison(self.detections, 3.0, 4.0)

    def interrupt(self) -> None:
        self.is_interrupted = True

    def close(self) -> None:
        self.is_closed = True


class ShamCandidates(Candidates):
    """Opens sham candidates, and keeps them. `failures` are what the next probes end with."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.opened: list[ShamCandidate] = []
        self.failures: list[ModelError | RuntimeMissing | UpdateRefused] = []

    def open(self, path: Path, sha256: str) -> Candidate:
        failure = self.failures.pop(0) if self.failures else None
        self.opened.append(ShamCandidate(detected(self._config), region_of(self._config.camera.roi), failure))
        return cast(Candidate, self.opened[-1])

    def probe(self, candidate: Candidate) -> ProbeReport:
        failure = cast(ShamCandidate, candidate).failure
        if failure is not None:
            raise failure
        return ProbeReport("street", "1", ("person",), 3.0, None, Proof(
            "ab" * 32, "litert", "2", 1, False, None, 1.0, 3.0, (), (), {}))


def stored(store: ModelStore, content: bytes, shadow: ShadowRequirement | None = None,
           release: int | None = None) -> Installed:
    """Put a file into the store; it is never loaded."""
    path = store.folder / "arrived"
    path.write_bytes(content)
    sha256, size = store.stage(path, None, limit_bytes=1 << 20)
    assert sha256 == hashlib.sha256(content).hexdigest()
    return Installed(sha256=sha256, size=size, name=content.decode(), shadow=shadow, release=release)
