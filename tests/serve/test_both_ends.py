"""A device's client calls `vedette serve` in both dialects. They are two processes."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.daemon.signals import interrupted_at_each_call
from tests.support.network.detection_server import TOKEN, command, model, served
from tests.support.present import present
from vedette._lib.clock import SystemClock
from vedette.config.models import CloudConfig, DetectorConfig
from vedette.errors import HttpStatus
from vedette.fallback.cloud_budget import Budget
from vedette.fallback.cloud_client import CloudClient
from vedette.types import WHOLE, DetectionResult, Frame
from vedette.vision.open import open_detector

pytestmark = pytest.mark.slow


def frame() -> Frame:
    """A dark frame of 256 x 128 with a lamp in the second cell of the second row."""
    picture = np.full((128, 256, 3), 8, np.uint8)
    picture[32:64, 64:128] = 255
    clock = SystemClock()
    return Frame(1, picture.data, clock.monotonic_ns(), clock.utc_now(), clock.monotonic_ns())


def detect(folder: Path, url: str, dialect: str, token: str = TOKEN) -> DetectionResult | None:
    token_file = folder / "token"
    token_file.write_text(token)
    cloud = CloudConfig.model_validate({"enabled": True, "url": url, "token_file": token_file, "dialect": dialect,
                                        "deadline_s": 30})
    clock = SystemClock()
    return CloudClient(cloud, DetectorConfig(), WHOLE, Budget(folder, cloud, clock, ""), clock).detect(frame())


def has_ipv6() -> bool:
    """Whether there is an IPv6 loopback address. A kernel may support IPv6 and have no address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_cloud_detects_what_the_device_would(tmp_path: Path, host: str) -> None:
    """The same model gives the same detections on both sides, except for JPEG losses. Both dialects agree."""
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    local = open_detector(DetectorConfig(model=model(tmp_path)))
    try:
        expected = local.detect(frame()).detections
    finally:
        local.close()
    with served(tmp_path, "--token-file", str(tmp_path / "tokens"), "--host", host) as url:
        ours = present(detect(tmp_path, f"{url}/v1/detect", "vedette"))
        plain = detect(tmp_path, f"{url}/v1/object-detection/any", "yolov5")
        with pytest.raises(HttpStatus, match="401"):
            detect(tmp_path, f"{url}/v1/detect", "vedette", "wrong")
    assert ours.model
    assert ours.model.sha256 == local.facts.model.sha256
    for result in (ours, plain):
        assert [each.label for each in present(result).detections] == [each.label for each in expected] == ["lamp"]
        assert present(result).detections[0].box == pytest.approx(expected[0].box, abs=0.01)
        assert present(result).detections[0].score == pytest.approx(expected[0].score, abs=0.02)


def test_an_address_beyond_loopback_needs_tokens(tmp_path: Path) -> None:
    """It is refused before the model is read."""
    done = subprocess.run(command("--model", "none.tflite", "--host", "0.0.0.0"),  # noqa: S104 - it must be refused
                          capture_output=True, text=True, timeout=240)
    assert done.returncode == 64
    assert "needs --token-file" in done.stderr


def test_a_taken_address_is_named(tmp_path: Path) -> None:
    """The command ends as unavailable, with one line."""
    with served(tmp_path) as url:
        port = url.rpartition(":")[2]
        done = subprocess.run(command("--model", model(tmp_path), "--port", port), capture_output=True,
                              text=True, timeout=240, env=os.environ)
    assert done.returncode == 69
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_signals_at_bad_moments_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the main thread begins to wait for one, and while it handles another."""
    for name, value in interrupted_at_each_call(tmp_path, "server.py", "serve").items():
        monkeypatch.setenv(name, value)
    with served(tmp_path):
        pass
