"""How soon health reports each misbehaviour of the synthetic camera, and how soon the report ends after it.

    .venv/bin/python bench/misbehaviour.py [--well 25 --ill 10]

Each kind has a real capture child, and all run at once. The bench prints a JSON line for each kind: the seconds from
its begin to the first health reason, the reasons seen, and the seconds from its end until no reason holds.
"""

from __future__ import annotations

import argparse
import json
import threading
import time

from vedette.camera.open import open_camera
from vedette.camera.remote import RemoteCamera
from vedette.camera.street.options import MISBEHAVIOURS, VIEW_FAULTS
from vedette.config.models import CameraConfig

POLL_S = 0.02


class Watched:
    """One camera with one kind of misbehaviour, and its reasons over time."""

    def __init__(self, kind: str, well_s: float, ill_s: float) -> None:
        self.kind = kind
        self.seen: list[tuple[float, tuple[str, ...]]] = []
        self._camera: RemoteCamera = open_camera(CameraConfig(
            source=f"synthetic?misbehave={kind}:{well_s:g}:{ill_s:g}", width=160, height=90, fps=10,
            frozen_after_s=2))
        self._camera.start()

    def poll(self) -> None:
        """Note the reasons that hold now, and take a frame if there is one."""
        frame = self._camera.take(0.0)
        if frame:
            self._camera.release(frame)
        reasons: tuple[str, ...] = tuple(self._camera.reasons())
        if not self.seen or self.seen[-1][1] != reasons:
            self.seen.append((time.monotonic(), reasons))

    def figures(self, begin_s: float, end_s: float) -> dict[str, object]:
        """Return the figures to print, for a phase between two times."""
        ill = [(at, reasons) for at, reasons in self.seen if at >= begin_s]
        named = next((at for at, reasons in ill if reasons), None)
        after = [(at, reasons) for at, reasons in ill if at >= (named or end_s)]
        gone = after[-1][0] if after and not after[-1][1] else None
        return {"kind": self.kind, "named_s": named and round(named - begin_s, 2),
                "reasons": sorted({reason for _, reasons in ill for reason in reasons}),
                "gone_s": gone and round(max(0.0, gone - end_s), 2)}

    def close(self) -> None:
        """End the child."""
        self._camera.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--well", type=float, default=25)
    parser.add_argument("--ill", type=float, default=10)
    args = parser.parse_args()
    period_s = args.well + args.ill
    # The cameras start at the beginning of a normal phase. Phases follow the monotonic clock.
    begin_s = (time.monotonic() // period_s + 1) * period_s + args.well
    pause = threading.Event()
    pause.wait(max(0.0, begin_s - args.well - time.monotonic()))
    cameras = [Watched(kind, args.well, args.ill) for kind in MISBEHAVIOURS if kind not in VIEW_FAULTS]
    try:
        while time.monotonic() < begin_s + args.ill + 0.8 * args.well:
            for camera in cameras:
                camera.poll()
            pause.wait(POLL_S)
        for camera in cameras:
            print(json.dumps(camera.figures(begin_s, begin_s + args.ill)), flush=True)
    finally:
        for camera in cameras:
            camera.close()


if __name__ == "__main__":
    main()
