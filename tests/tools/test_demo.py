"""`make run` with a real broker, a real model and a real film."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "tools" / "demo.py"


def start(real: Path, folder: Path, *rest: str) -> subprocess.Popen[str]:
    model = real / "models" / "ssd_mobilenet_v1_coco_uint8_metadata.tflite"
    film = real / "videos" / "car-detection.mp4"
    return subprocess.Popen([sys.executable, DEMO, "--model", str(model), "--source", str(film), *rest], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                            env={"PATH": os.environ["PATH"], "TMPDIR": str(folder)})


def port_of(line: str) -> int:
    found = re.match(r"broker on 127\.0\.0\.1:(\d+);", line)
    assert found, line
    return int(found[1])


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_results_are_printed_until_enough(real: Path, tmp_path: Path) -> None:
    """Three results, exit code 0, and neither broker nor folder left."""
    with start(real, tmp_path, "--frames", "3") as demo:
        out, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert out.count('"schema":"vedette.detections/1"') == 3
    assert not is_open(port_of(out))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(real: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C (to the whole group), a kill and a closed terminal leave no broker, no daemon and no folder."""
    with start(real, tmp_path) as demo:
        assert demo.stdout is not None
        port = port_of(demo.stdout.readline())
        assert is_open(port)
        while '"schema"' not in demo.stdout.readline():
            assert demo.poll() is None
        if number is signal.SIGINT:
            os.killpg(demo.pid, number)
        else:
            demo.send_signal(number)
        demo.communicate(timeout=30)    # to the end of the pipe: whoever held it has ended
    assert not is_open(port)
    assert list(tmp_path.iterdir()) == []
