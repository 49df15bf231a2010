"""The region `camera.roi` of a running daemon: a reload applies it, and no frame is reported with a wrong place."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.daemon.config import write_config
from tests.support.daemon.running import RunningDaemon
from tests.support.network.clouds import TOKEN, serving_answers
from tests.support.network.local_clients import get_json
from tests.support.network.ports import free_port
from tests.support.present import present
from tests.support.waiting.until import wait_until

pytestmark = pytest.mark.daemon

SIDE = 128
LAMP = [0.25, 0.25, 0.5, 0.5]
"""The place of the lamp in each frame, of which each region below shows all or nothing."""
REGIONS: list[tuple[list[float] | None, bool]] = [
    ([0.25, 0, 0.75, 0.5], True), ([0.5, 0.5, 1, 1], False), ([0, 0, 0.5, 0.5], True), (None, True)]
RESULTS = 4


def write_film(folder: Path, *, halves: bool = False) -> Path:
    """Write a film of a lamp, or of a left half that is dark and a right half that is bright."""
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (SIDE, SIDE))
    for number in range(40):
        picture = np.full((SIDE, SIDE, 3), 8 + number % 5, np.uint8)
        if halves:
            picture[:, SIDE // 2:] = 220
        else:
            picture[32:64, 32:64] = 255
        writer.write(picture)
    writer.release()
    return path


def camera(film: Path, roi: list[float] | None) -> str:
    return f"{{source: '{film}', loop: true, fps: 20, roi: {'null' if roi is None else roi}}}"


def runs_with(socket: Path, roi: list[float] | None) -> bool:
    """Whether the page would show this region."""
    return bool(get_json(socket, "/config")["config"]["camera"]["roi"] == roi)


def boxes(result: dict[str, Any]) -> list[list[float]]:
    return [found["box"] for found in result["detections"]]


def test_a_reload_applies_it_and_every_box_is_at_its_place(tmp_path: Path) -> None:
    """Whichever region a frame was detected in, its result has the lamp where it is, or the region does not show it."""
    film, socket = write_film(tmp_path), tmp_path / "run" / "socket"
    socket.parent.mkdir()
    port = free_port()
    config = write_config(tmp_path, port, camera=camera(film, None))
    environment = {"RUNTIME_DIRECTORY": str(socket.parent)}
    with RunningDaemon(tmp_path, "--config", config, "--print", env=environment) as daemon:
        assert daemon.waits_for_results(RESULTS), daemon.log
        for roi, shows in 2 * REGIONS:
            write_config(tmp_path, port, camera=camera(film, roi))
            daemon.signal(signal.SIGHUP)
            assert wait_until(partial(runs_with, socket, roi)), daemon.log
            assert daemon.waits_for_results(len(daemon.lines) + RESULTS), daemon.log
            assert wait_until(lambda: boxes(daemon.results[-1]) == [LAMP] * shows), daemon.log  # noqa: B023 - called here
        assert "at the next start" not in daemon.log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
    assert all(boxes(result) in ([LAMP], []) for result in daemon.results)


def test_the_cloud_never_gets_a_picture_of_the_old_region_again(tmp_path: Path) -> None:
    """From the first picture of the new region on, there is none that shows anything of the old one."""
    film = write_film(tmp_path, halves=True)
    (tmp_path / "token").write_text(TOKEN)
    left, right = [0, 0, 0.5, 1], [0.5, 0, 1, 1]
    with serving_answers() as server:
        more = {"detector": "{threads: 1}", "cloud": f"{{enabled: true, url: '{server.url}', interval_s: 0.1, "
                f"token_file: '{tmp_path / 'token'}', deadline_s: 30, per_hour: 7200}}"}

        def greys() -> list[int]:
            """The mean grey of each picture that the server got; -1 for one that shows both halves."""
            pictures = [present(cv2.imdecode(np.frombuffer(asked.body, np.uint8), cv2.IMREAD_GRAYSCALE))
                        for asked in tuple(server.asked)]
            return [round(float(each.mean())) if np.ptp(each) < 30 else -1 for each in pictures]
        port = free_port()
        with RunningDaemon(tmp_path, "--config", write_config(
                tmp_path, port, camera=camera(film, left), sections=more)) as daemon:
            assert wait_until(lambda: len(server.asked) >= 2), daemon.log
            write_config(tmp_path, port, camera=camera(film, right), sections=more)
            daemon.signal(signal.SIGHUP)
            assert wait_until(lambda: greys()[-1] > 200), daemon.log
            assert wait_until(lambda: greys()[-3:].count(greys()[-1]) == 3), daemon.log
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
    seen = [grey > 200 for grey in greys()]
    assert -1 not in greys()
    assert seen == sorted(seen)
