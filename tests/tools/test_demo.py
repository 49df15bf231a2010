"""`make run` with a real broker, the real daemon, the drawn street and the model in the box."""

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.support.daemon.signals import interrupted_at_each_call
from tests.support.waiting.bounded_popen import BoundedPopen
from tests.support.waiting.until import eventually, wait_until
from tools.demo import DemoError, start_broker

pytestmark = pytest.mark.daemon

DEMO = Path(__file__).parents[2] / "tools" / "demo.py"
HITS = re.compile(r"recall (\d\.\d\d) precision (\d\.\d\d) over (\d+) frames")


class Demo(BoundedPopen[str]):
    """`kill` ends its broker and its daemon too: the terminal is open as long as one of them lives."""

    def __init__(self, folder: Path, *arguments: str | Path, out: int = subprocess.PIPE,
                 environ: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        super().__init__([sys.executable, DEMO, *map(str, arguments)], text=True, start_new_session=True, stdout=out,
                         stderr=subprocess.STDOUT,
                         env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), **(environ or {})})

    def kill(self) -> None:
        for process in processes_of(self._folder):
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


def port_of(line: str) -> int:
    found = re.match(r"broker on 127\.0\.0\.1:(\d+);", line)
    assert found, line
    return int(found[1])


def page_of(line: str) -> int:
    found = re.match(r"page on http://127\.0\.0\.1:(\d+)/$", line)
    assert found, line
    return int(found[1])


def picture_of(page: int) -> bytes | None:
    """The newest picture of the page; None if it has none."""
    try:
        with urlopen(f"http://127.0.0.1:{page}/frame.jpg?wait=1", timeout=60) as answer:
            return answer.read() or None
    except URLError:
        return None


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def processes_of(folder: Path) -> list[str]:
    """Ids of the processes that were started with this folder for temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:     # ended meanwhile, or another user's
            continue
    return found


def assert_nothing_is_left(folder: Path, port: int) -> None:
    assert not is_open(port)
    assert wait_until(lambda: processes_of(folder) == [])     # a capture process sees its parent's end
    assert list(folder.iterdir()) == []


def test_the_street_is_watched_with_its_truth_beside(tmp_path: Path) -> None:
    """Neither model nor source named: most things are found, most detections are right, and nothing is left."""
    with Demo(tmp_path, "--frames", "45") as demo:
        out, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, out
    last = out.splitlines()[-1]
    recall, precision, frames = HITS.findall(last)[0]
    assert 1 <= int(frames) <= 45
    assert float(recall) > 0.5
    assert float(precision) > 0.6
    told = re.match(r"(\d+) results, the first after \d+\.\d s; at the end: \d+\.\d/s  age p50 \d", last)
    assert told, last
    assert 30 <= int(told[1]) <= 45     # when starved, two come within 3 ms: max_per_s leaves one out
    assert_nothing_is_left(tmp_path, port_of(out))


def test_it_ends_by_itself(tmp_path: Path) -> None:
    """After the seconds it was given, whatever was seen by then, with 0 and nothing left; two of them side by side."""
    folders = [tmp_path / "one", tmp_path / "other"]
    pages = set()
    for folder in folders:
        folder.mkdir()
    with Demo(folders[0], "--seconds", "1") as one, Demo(folders[1], "--seconds", "1") as other:
        for folder, demo in zip(folders, (one, other), strict=True):
            out, _ = demo.communicate(timeout=240)
            assert demo.returncode == 0, out
            pages.add(page_of(out.splitlines()[1]))
            assert_nothing_is_left(folder, port_of(out))
    assert len(pages) == 2


def test_a_film_and_a_model_of_ones_own(real: Path, tmp_path: Path) -> None:
    """What `vedette run` is told besides reaches it: it ends after three results; no truth is claimed."""
    model = real / "models" / "ssd_mobilenet_v1_coco_uint8_metadata.tflite"
    with Demo(tmp_path, "--model", model, "--source", real / "videos" / "car-detection.mp4", "--frames", "3") as demo:
        out, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, out
    assert out.splitlines()[-1].startswith("3 results")
    assert "recall" not in out
    assert_nothing_is_left(tmp_path, port_of(out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C (to the whole group, twice), a kill and a closed terminal leave no process and no folder.

    Before that, the page is open in the browser of the desktop, and has the picture with its boxes.
    """
    opened, folder = tmp_path / "opened", tmp_path / "temporary"
    folder.mkdir()
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >{opened}\n')
    browser.chmod(0o755)
    with Demo(folder, "--open", environ={"DISPLAY": ":0", "BROWSER": str(browser)}) as demo:
        assert demo.stdout is not None
        port = port_of(demo.stdout.readline())
        assert is_open(port)
        page = page_of(demo.stdout.readline())
        while not HITS.search(demo.stdout.readline()):
            assert demo.poll() is None
        assert b'"label":"' in eventually(lambda: picture_of(page))
        assert wait_until(lambda: opened.exists() and opened.read_text() == f"http://127.0.0.1:{page}/\n")
        if number is signal.SIGINT:
            os.killpg(demo.pid, number)
            os.killpg(demo.pid, number)
        else:
            demo.send_signal(number)
        demo.communicate(timeout=240)
    assert demo.returncode == 130
    assert not is_open(page)
    assert_nothing_is_left(folder, port)


def test_signals_while_another_one_is_handled(tmp_path: Path) -> None:
    """Ctrl-C again and again, at each call of the handler: everything ends."""
    modules, temporary = tmp_path / "modules", tmp_path / "temporary"
    modules.mkdir()
    temporary.mkdir()
    with Demo(temporary, environ=interrupted_at_each_call(modules, DEMO.name, "<lambda>")) as demo:
        assert demo.stdout is not None
        port = port_of(demo.stdout.readline())
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=240)
    assert demo.returncode == 130
    assert_nothing_is_left(temporary, port)


def test_impatience_at_the_very_beginning_is_quiet(tmp_path: Path) -> None:
    """Ctrl-C while the modules are still being read, as the interpreter tells an audit hook of one of them."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "sys.addaudithook(lambda event, told: event == 'import' and told[0] == 'pydantic'\n"
        "                 and os.kill(os.getpid(), signal.SIGINT))\n")
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=240,
                          env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_terminal_shows_one_screen_and_is_given_back(tmp_path: Path) -> None:
    """Redrawn from its home, never scrolled; the cursor and the old screen are there again at the end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    with Demo(tmp_path, out=theirs) as demo:
        os.close(theirs)
        shown = b""
        while chunk := read(ours):
            shown += chunk
            if b"recall 0." in shown and b"XNNPACK" in shown:
                demo.send_signal(signal.SIGINT)
        os.close(ours)
        assert demo.wait(240) == 130, shown
    before, screens, after = re.split(rb"\x1b\[\?1049[hl]", shown)
    pages = screens.split(b"\x1b[H")[1:]
    assert len(pages) > 1
    assert all(page.count(b"\n") < 24 for page in pages)
    assert re.search(rb"recall 0\.\d\d", pages[-1])
    assert screens.endswith(b"\x1b[?25h")
    assert after.count(b"\x1b") == 0
    assert_nothing_is_left(tmp_path, port_of(before.decode()))


def read(terminal: int) -> bytes:
    """Read on; nothing at the end, which Linux tells as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


def test_a_reader_that_leaves_early_ends_it(tmp_path: Path) -> None:
    """`make run | head -1` is no error and leaves nothing."""
    with Demo(tmp_path) as demo:
        assert demo.stdout is not None
        port = port_of(demo.stdout.readline())
        demo.stdout.close()
        assert demo.wait(240) == 0
    assert_nothing_is_left(tmp_path, port)


def test_a_film_needs_a_model_of_its_own(tmp_path: Path) -> None:
    """The model in the box knows drawings only: 64, with an example, and nothing was started."""
    with Demo(tmp_path, "--model", "", "--source", "street.mp4") as demo:
        out, _ = demo.communicate(timeout=240)
    assert demo.returncode == 64
    assert "make run MODEL=street.tflite SOURCE=street.mp4" in out
    assert "broker on" not in out


def test_a_daemon_that_cannot_run_says_why(tmp_path: Path) -> None:
    """Its last words are shown, its exit code is handed on, and nothing is left."""
    with Demo(tmp_path, "--model", tmp_path / "nothing.tflite", "--source", "synthetic") as demo:
        out, _ = demo.communicate(timeout=240)
    assert demo.returncode not in {0, 130}
    assert "nothing.tflite" in out
    assert "Traceback" not in out
    assert_nothing_is_left(tmp_path, port_of(out))


def test_a_missing_broker_is_named(tmp_path: Path) -> None:
    """Without mosquitto it says what to install, and ends with 69."""
    with pytest.raises(DemoError, match="apt-get install mosquitto") as raised:
        start_broker(tmp_path, 1, path=str(tmp_path))
    assert raised.value.exit_code == 69
