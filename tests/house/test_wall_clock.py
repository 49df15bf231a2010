"""Which modules read the wall clock, and why: to name a moment, never to measure a duration."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daemon" / "vedette"
READS = re.compile(r"utc_now|\btime\.time\b|datetime\.now|date\.today|st_[mca]time|\blocaltime|\bgmtime|CLOCK_REALTIME")

READERS = {
    "_lib/clock.py": "the clock itself",
    "ports.py": "its port",
    "device/wall_clock.py": "compares it with the monotonic one, and names moments by it",
    "app.py": "hands it on; the moment of a rollback at the start",
    "health/publisher.py": "`at` of a message",
    "events/zone_reporter.py": "`captured_at` of zones without a frame",
    "messages/results.py": "`captured_at` of counts without a frame",
    "camera/remote.py": "`captured_at` of a frame",
    "mqtt/publisher.py": "hands it on to the command filter",
    "mqtt/command_filter.py": "`expires_at` of a command, which the sender gave by the wall clock",
    "mqtt/spool_worker.py": "when a batch was written: its age over a restart of the machine if both clocks were set",
    "mqtt/backfill.py": "the times of a message from before the clock was set",
    "events/clip_folder.py": "the age of clips in days, once the clock has not stepped for ten minutes",
    "workshop/collection.py": "the same of collected pictures",
    "net/http_client.py": "`Retry-After` as a date, of a server that does not send its own time; bounded",
    "detect/open_model.py": "whether a refused model's file is another one now",
    "device/identity.py": "the number of a run after one that cannot be read",
    "store/model_store.py": "when a model was refused or activated, for the status",
    "store/incoming.py": "which file of a kind is the latest; a download under way stays in any case",
    "store/inbox.py": "when a request was made that an earlier daemon began, for the status",
    "update/offline.py": "as `store/model_store.py`; expiry of signed metadata",
    "update/fetch.py": "expiry of signed metadata, never against less than the newest time once trusted",
    "update/worker.py": "as `store/model_store.py`",
    "update/prove.py": "as `store/model_store.py`",
    "update/configuration.py": "as `store/model_store.py`",
    "update/activate.py": "as `store/model_store.py`",
    "page/device.py": "since when a daemon answers",
    "page/recorder.py": "which minute a message belongs to, when a blind time began, and the age of what is kept",
    "page/service.py": "`now` of an answer, and how far back a history goes",
    "fleet/roll_desk.py": "signs with it, and names the moment of a publication; a soak is measured by another clock",
    "fleet/roller.py": "the time of a line of the log",
    "validate/candidate_child.py": "`captured_at` of a frame that is never published",
    "vision/images.py": "`captured_at` of an image",
}
OPERATORS = ("cli/",)
"""Commands show the time to the operator and sign with it. They measure nothing by it."""


def test_every_reader_of_the_wall_clock_is_known() -> None:
    """A new one needs a reason that tolerates a step of ten years."""
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if READS.search(path.read_text(encoding="utf-8"))}
    assert {name for name in found if not name.startswith(OPERATORS)} == READERS.keys()
