"""A device's site in fast-forward: an hour is a few results and one measured view, on the test's own clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tests.support.fakes import EPOCH, FakeCamera, FakeClock, make_frame, make_result
from tests.support.present import present
from vedette.config.models import Config
from vedette.drift.ledger import FILE, Ledger
from vedette.drift.watch import DriftWatch
from vedette.types import OUTLINE_BYTES, WHOLE, Box, CameraStatus, Detection, ModelRef, View

BOOT = "one boot"
HOUR_S = 3600


def outline(seed: int, noise: float = 0.0) -> bytes:
    """The outline of a place; noise 0-1 makes it less similar."""
    place, other = random.Random(seed), random.Random(seed + 1000)
    return bytes(round((1 - noise) * place.randint(-90, 90) + noise * other.randint(-90, 90)) % 256
                 for _ in range(OUTLINE_BYTES))


DAYLIGHT = View(900.0, 0.5, outline(1))


class ViewCamera(FakeCamera):
    """A camera that shows the view that the test sets."""

    def __init__(self) -> None:
        super().__init__([])
        self.now = CameraStatus("capturing", EPOCH, None, "fake", brightness=110.0, contrast=40.0)

    def status(self) -> CameraStatus:
        return self.now

    def show(self, view: View, brightness: float = 110.0, contrast: float = 40.0) -> None:
        """A new measurement."""
        self.now = replace(self.now, view=replace(view), brightness=brightness, contrast=contrast)


class Site:
    """`scores` gives the mean score of each label on a day; `per_hour` results have each label."""

    def __init__(self, folder: Path, *, scores: Callable[[float], Mapping[str, float]] | None = None,
                 per_hour: int = 4, invoke_ms: Callable[[float], float] = lambda day: 30.0,
                 bundled: Mapping[str, float] | None = None, **sections: Mapping[str, object]) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / FILE
        self.scores = scores or (lambda day: {})
        self.per_hour, self.invoke_ms = per_hour, invoke_ms
        self.model, self.roi = "a" * 64, WHOLE
        self.clock = FakeClock()
        self.camera = ViewCamera()
        self.hours = 0
        self.governed = self.rests = False
        self._sections = dict(sections)
        self._bundled = bundled or {}
        self.start()

    def start(self, boot: str = BOOT) -> None:
        """The daemon starts; another boot's monotonic clock starts again at 0."""
        if boot != BOOT:
            self.clock.now_ns = 7_000_000_000
        self.config = Config.model_validate(self._sections)
        self.watch = DriftWatch(Ledger(self.path, self.clock, boot), self.camera, self.config,
                                bundled=lambda _: self._bundled, governed=lambda: self.governed)

    def stop(self) -> None:
        """Stop in order."""
        self.watch.step()
        self.watch.save()

    def reload(self, **sections: Mapping[str, object]) -> None:
        self._sections |= sections
        self.config = Config.model_validate(self._sections)
        self.watch.reload(self.config)

    @property
    def day(self) -> float:
        return self.hours / 24

    def hour(self) -> None:
        """Let an hour pass: results in its middle, and one measured view."""
        self.clock.advance(HOUR_S / 2)
        for label, score in self.scores(self.day).items():
            self.see(label, score, self.per_hour)
        self.see(None, 0.0, 1)
        if self.camera.now.view is None:
            self.camera.show(DAYLIGHT)
        now = self.camera.now
        self.camera.show(present(now.view), present(now.brightness), present(now.contrast))
        self.watch.step()
        self.clock.advance(HOUR_S / 2 - 1)
        self.watch.step()
        self.clock.advance(1)
        self.hours += 1

    def run(self, hours: int) -> None:
        for _ in range(hours):
            self.hour()

    def see(self, label: str | None, score: float, times: int) -> None:
        """Give results with one detection of this label, or none."""
        found = () if label is None else (Detection(label, 0, score, Box(0, 0, 1, 1)),)
        result = make_result(replace(make_frame(self.clock), after_still=self.rests), found)
        result = replace(result, model=ModelRef("street", "1", self.model), roi=self.roi,
                         timing=replace(result.timing, invoke_ms=self.invoke_ms(self.day)))
        for _ in range(times):
            self.watch.on_result(result)

    def observe(self, view: View, seconds: int, brightness: float = 110.0, contrast: float = 40.0) -> None:
        """Show a view for some seconds, measured once a second; less often for a long time."""
        every_s = max(1, seconds // 120)
        for _ in range(0, seconds, every_s):
            self.camera.show(view, brightness, contrast)
            self.clock.advance(every_s)
            self.watch.step()

    @property
    def changes(self) -> list[str]:
        return list(self.watch.health()["image"]["changes"])
