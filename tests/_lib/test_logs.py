"""Log lines for the journal and for a terminal."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vedette._lib import logs

GREETING = """
import logging
from vedette._lib import logs
logs.setup(logging.INFO)
logs.setup(logging.INFO)
log = logging.getLogger('vedette')
log.debug('hidden')
log.info('hello')
"""


def test_journal_lines_each_have_their_priority() -> None:
    """All lines of a traceback carry the record's priority; without it, the journal would store them as notices."""
    formatter = logs.JournalFormatter("%(name)s: %(message)s")
    failure = ValueError("broken")
    record = logging.LogRecord("vedette.x", logging.ERROR, "x.py", 1, "no %s", ("frame",),
                               (ValueError, failure, None))
    lines = formatter.format(record).splitlines()
    assert lines[0] == "<3>vedette.x: no frame"
    assert lines[-1] == "<3>  ValueError: broken"
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("form", [logs.LineFormatter, logs.JournalFormatter])
def test_text_from_outside_forges_no_line(form: type[logging.Formatter]) -> None:
    """A sender's text starts no log line, moves no cursor, and is always written."""
    text = "a\nCRITICAL vedette.app: forged\r\x1b[2Jb\x85c\u2028d\udc80e é"
    record = logging.LogRecord("vedette.x", logging.WARNING, "x.py", 1, "command %s ignored", (text,), None)
    lines = form("%(levelname)s %(message)s").format(record).splitlines()
    mark = "<4>" if form is logs.JournalFormatter else ""
    assert lines == [f"{mark}WARNING command a",
                     f"{mark}  CRITICAL vedette.app: forged\\r\\x1b[2Jb\\x85c\\u2028d\\udc80e é ignored"]


def test_journal_is_recognised_by_its_inode(tmp_path: Path) -> None:
    """Only the stream that systemd named counts as the journal."""
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert logs.is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not logs.is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not logs.is_journal(stream, {})
    assert not logs.is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


@pytest.mark.parametrize(("journal", "expected"), [(True, b"<6>vedette: hello\n"), (False, b" INFO     MainThread ")])
def test_setup_writes_to_standard_error(tmp_path: Path, journal: bool, expected: bytes) -> None:
    """One call sends records from the level up to standard error, in the form that its reader expects."""
    path = tmp_path / "stderr"
    with path.open("wb") as stream:
        status = os.fstat(stream.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}" if journal else "0:0"}
        subprocess.run([sys.executable, "-c", GREETING], stderr=stream, env=environ, check=True, timeout=240)
    written = path.read_bytes()
    assert expected in written
    assert written.count(b"hello") == 1
    assert b"hidden" not in written
