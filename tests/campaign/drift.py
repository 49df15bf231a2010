"""Campaign `drift`: cameras that are covered, moved and put out of focus, day and night and rain, seen over MQTT.

    .venv/bin/python tests/campaign/drift.py --state .campaign/drift.json

A real daemon for each of `--street` (seeds) and each thing done to its camera, a few at a time. Each must be named in
health, with the right cause, within `--after-s` and 30 s, and no longer 60 s after it was corrected; meanwhile nothing
else may be named, and in rain, and through `--days` whole days of the street's light, nothing at all. Resumable;
prints one JSON line of figures; exits 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.broker.mosquitto import Mosquitto, running
from tests.support.broker.witness import Witness
from tests.support.daemon.running import RunningDaemon
from tests.support.waiting.until import wait_until
from vedette.camera.street.scene import DAY_S

CHANGES = {"cover": "covered", "move": "moved", "defocus": "out of focus"}
QUIET = ("rain", "day")
DRIFT = "image_drift"
NAMED_WITHIN_S, GONE_WITHIN_S = 30.0, 60.0
KNOWN_S = 15.0
"""So long the view is left alone once it is known."""


def phase(begin_s: float, ill_s: float) -> str:
    """Return WELL:ILL whose next ill phase begins at that moment of the monotonic clock."""
    turns = int(begin_s // 80_000)
    well_s = (begin_s - turns * ill_s) / (turns + 1)
    return f"{well_s:.3f}:{ill_s:g}"


class Device:
    """One daemon and the messages that a subscriber receives from it."""

    def __init__(self, folder: Path, broker: Mosquitto, seed: int, kind: str, args: argparse.Namespace) -> None:
        self.name = f"{kind}-{seed}"
        folder.mkdir()
        self._args = args
        self._ill_s = args.after_s + 2 * NAMED_WITHIN_S
        self._begin_s = time.monotonic() + args.start_s + args.after_s + KNOWN_S
        misbehave = "" if kind == "day" else f"&misbehave={kind}:{phase(self._begin_s, self._ill_s)}"
        self._config = folder / "config.yaml"
        self._config.write_text(
            f"device: {self.name}\nmqtt: {{port: {broker.port}}}\npublish: {{results: changes}}\n"
            f"camera: {{source: 'synthetic?seed={seed}{misbehave}', width: 320, height: 180, fps: 2}}\n"
            f"detector: {{threads: 1}}\nhealth: {{interval_s: 1, image_drift_after_s: {args.after_s}}}\n")
        self._folder, self._kind = folder, kind
        self.witness = Witness(broker.client(), self.name)
        self._last: list[str] | None = None      # the last that was named

    def run(self) -> dict[str, object]:
        """Watch it through; returns figures, with `wrong` as a message or None."""
        with self.witness, RunningDaemon(self._folder, "--config", self._config) as daemon:
            try:
                summary = self._quiet() if self._kind in QUIET else self._changed()
            except AssertionError as wrong:
                summary = {"wrong": f"{wrong}: {self._image()}; {daemon.log[-300:]}"}
        return {"kind": self._kind, "wrong": None, **summary}

    def _changed(self) -> dict[str, object]:
        self._expect(lambda: self._image().get("references"), self._begin_s, "no view is known yet")
        self._expect(lambda: DRIFT in self.witness.reasons, self._begin_s + self._ill_s, "not named")
        named_s = self._since_s() - self._begin_s
        assert named_s > 0, "named before anything was done"
        self._expect(lambda: DRIFT not in self.witness.reasons, self._begin_s + self._ill_s + GONE_WITHIN_S, "not gone")
        gone_s = time.monotonic() - self._begin_s - self._ill_s
        assert gone_s > 0, "cleared before it was corrected"
        assert self._last == [CHANGES[self._kind]], f"named {self._last}"
        assert named_s <= self._args.after_s + NAMED_WITHIN_S, f"named after {named_s:.1f} s"
        return {"named_s": round(named_s, 1), "gone_s": round(gone_s, 1)}

    def _since_s(self) -> float:
        """The moment of the monotonic clock from which the device itself reports it."""
        since = next(each["since"] for each in self.witness.health["reasons"] if each["code"] == DRIFT)
        return time.monotonic() - (time.time() - datetime.fromisoformat(since).timestamp())

    def _quiet(self) -> dict[str, object]:
        self._expect(lambda: self._image().get("references"), self._begin_s, "no view is known yet")
        until_s = self._begin_s + (self._ill_s if self._kind == "rain" else self._args.days * DAY_S)
        self._expect(lambda: False, until_s, "")
        assert self._last is None, f"named {self._last}"
        return {"references": self._image()["references"]}

    def _image(self) -> dict[str, Any]:
        return dict(self.witness.health.get("drift", {}).get("image", {}))

    def _expect(self, holds: Callable[[], object], until_s: float, otherwise: str) -> None:
        """Wait until that moment at most; `otherwise` says what it means if it does not come."""
        def is_so() -> bool:
            self._last = self._image().get("changes") or self._last
            return bool(holds())
        assert wait_until(is_so, max(0.0, until_s - time.monotonic())) or not otherwise, otherwise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="records the finished part; delete it to start again")
    parser.add_argument("--street", type=int, action="append", help="a seed; several may be given (5, 7, 11, 3)")
    parser.add_argument("--kind", action="append", choices=(*CHANGES, *QUIET), help="several may be given (all)")
    parser.add_argument("--after-s", type=float, default=20, help="health.image_drift_after_s (20)")
    parser.add_argument("--start-s", type=float, default=40, help="allowed for starting and ten checks (40)")
    parser.add_argument("--days", type=float, default=2, help="of the street, three minutes each (2)")
    parser.add_argument("--at-a-time", type=int, default=3)
    args = parser.parse_args()
    done = json.loads(args.state.read_text()) if args.state.exists() else {}
    todo = [(seed, kind) for seed in args.street or (5, 7, 11, 3) for kind in args.kind or (*CHANGES, *QUIET)
            if f"{kind}-{seed}" not in done]
    noting = threading.Lock()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as broker, \
            ThreadPoolExecutor(args.at_a_time) as pool:
        def one(seed: int, kind: str) -> None:
            device = Device(Path(folder) / f"{kind}-{seed}", broker, seed, kind, args)
            summary = device.run()
            with noting:
                done[device.name] = summary
                args.state.write_text(json.dumps(done))
        for future in [pool.submit(one, *each) for each in todo]:
            future.result()
    wrong = {name: summary["wrong"] for name, summary in done.items() if summary["wrong"]}
    worst = {what: max((summary[what] for summary in done.values() if summary.get(what) is not None), default=None)
             for what in ("named_s", "gone_s", "references")}
    print(json.dumps({"devices": len(done), "wrong": wrong, "after_s": args.after_s, "worst": worst}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
