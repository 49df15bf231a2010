"""Who reads the wall clock, and what for: to tell a moment to somebody, never to measure how much time has passed."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daemon" / "vedette"
READS = re.compile(r"utc_now|\btime\.time\b|datetime\.now|date\.today|st_[mca]time|\blocaltime|\bgmtime|CLOCK_REALTIME")

READERS = {
    "_lib/clock.py": "the clock itself",
    "ports.py": "its port",
    "clock_watch.py": "compares it with the monotonic one, and tells a moment by it as it is now",
    "app.py": "hands it on; the moment of a rollback at the start",
    "health.py": "`at` of a message",
    "reporter.py": "`captured_at` of counts without a frame",
    "camera/remote.py": "`captured_at` of a frame",
    "mqtt/publisher.py": "hands it on to the judge",
    "mqtt/judge.py": "`expires_at` of a command, which the sender gave by the wall clock",
    "mqtt/keeper.py": "when a batch was written: its age over a restart of the machine where both clocks were set",
    "mqtt/replay.py": "`captured_at` of a frame from before the clock was set",
    "http_client.py": "`Retry-After` as a date, of a server that does not tell its own time; bounded",
    "identity.py": "the number of a run after one that cannot be read",
    "update/store.py": "when a model was refused or activated, to be told",
    "update/incoming.py": "which file of a kind is the latest; a download under way stays in any case",
    "updater/alone.py": "as `update/store.py`; expiry of signed metadata",
    "updater/arrivals.py": "expiry of signed metadata, never against less than the newest time once trusted",
    "updater/loop.py": "as `update/store.py`",
    "updater/proving.py": "as `update/store.py`",
    "updater/switch.py": "as `update/store.py`",
    "vision/candidate_child.py": "`captured_at` of a frame that nobody is told of",
    "vision/images.py": "`captured_at` of an image",
}
OPERATORS = ("cli/",)
"""Commands tell the operator the time, sign with it, and measure nothing by it."""


def test_every_reader_of_the_wall_clock_is_known() -> None:
    """A new one needs a reason that stands a step of ten years."""
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if READS.search(path.read_text(encoding="utf-8"))}
    assert {name for name in found if not name.startswith(OPERATORS)} == READERS.keys()
