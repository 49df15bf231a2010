"""Log lines on standard error: with priorities for the journal, with times for a terminal.

Invariants: under systemd (`$JOURNAL_STREAM` is this standard error) every line starts with its `<N>` priority, also
each line of a traceback, and carries no time, since the journal stamps it; text from outside (a command, a broker's
message) cannot look like a log line or move a terminal's cursor; nothing else configures logging.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""syslog(3) priorities, as sd-daemon(3) expects them at the start of a line."""
WITH_TIME = "%(asctime)s %(levelname)-8s %(threadName)s %(name)s: %(message)s"
LINES_KEPT, LINE_CHARS = 200, 500


class LineFormatter(logging.Formatter):
    """A record as lines: lines after the first are indented, and control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines."""
        return "\n  ".join(map(_printable, super().format(record).split("\n")))


class JournalFormatter(LineFormatter):
    """`<4>vedette.camera: message`, each line with its own priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines for the journal."""
        priority = PRIORITIES.get(record.levelno, 5)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


class LastLines(logging.Handler):
    """Keeps the last lines of the log in memory: LINES_KEPT of LINE_CHARS at most. Any thread."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter(WITH_TIME))
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record. One that cannot be formatted is reported as any handler does."""
        try:
            self._lines.append(self.format(record)[:LINE_CHARS])
        except (TypeError, ValueError, KeyError):
            self.handleError(record)

    def last(self) -> list[str]:
        """Return the lines, the oldest first."""
        return list(self._lines)


def setup(level: int, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Send everything from `level` up to `stream` (default: standard error). A second call replaces the first."""
    stream = stream or sys.stderr
    if is_journal(stream, environ):
        formatter: logging.Formatter = JournalFormatter("%(name)s: %(message)s")
    else:
        formatter = LineFormatter(WITH_TIME)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` goes to the journal: `$JOURNAL_STREAM` has its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:   # a stream without a descriptor
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
