"""Damaged pictures of a live source: skipped for a while, then a failure."""

import logging

import pytest

from tests.support.daemon.cameras import Order, make_settings, running, same_child
from tests.support.daemon.faulty import FAULTY_CHILD
from tests.support.waiting.fair_clock import starved_s
from tests.support.waiting.until import eventually
from vedette.camera.child.damage import LOGGED, Damage
from vedette.camera.child.source import PictureDamaged

pytestmark = pytest.mark.slow

DAMAGED = PictureDamaged("cam: a picture cannot be decoded")


def test_one_damaged_picture_does_not_reopen_a_camera(order: Order) -> None:
    """A camera whose every tenth picture is damaged keeps working. The damage is in health, and nothing is reopened."""
    before_s = starved_s()
    with running(make_settings(order("one in ten damaged")), FAULTY_CHILD) as camera:
        eventually(lambda: "camera_damaged" in camera.reasons() and camera.status().captured > 20)
        assert camera.status().reopened == 0
        order("damaged")
        eventually(lambda: camera.status().state == "offline", within_s=6)
        order("")
        eventually(lambda: camera.status().state == "capturing")
        assert same_child(camera, before_s)


def test_nothing_but_damage_is_a_failure_before_a_stall() -> None:
    """A live source may give damaged pictures for a little less than the stall limit, a film for ever."""
    now_ns = 0
    damage = Damage(3.0, lambda: now_ns)
    for now_ns in range(0, 2_400_000_000, 100_000_000):  # noqa: B007 - the clock reads it
        damage.skip(DAMAGED, live=True)
    now_ns = 2_500_000_000
    damage.skip(DAMAGED, live=False)
    with pytest.raises(PictureDamaged):
        damage.skip(DAMAGED, live=True)
    damage.skip(DAMAGED, live=True)
    damage.passed()


def test_the_log_does_not_fill(caplog: pytest.LogCaptureFixture) -> None:
    """The first damaged pictures are named each, later ones once a minute with their number."""
    caplog.set_level(logging.WARNING)
    now_ns = 0
    damage = Damage(3.0, lambda: now_ns)
    for now_ns in range(0, 130_000_000_000, 1_000_000_000):  # noqa: B007 - the clock reads it
        damage.skip(DAMAGED, live=False)
    assert len(caplog.messages) == LOGGED + 2
    assert caplog.messages[-1].endswith("59 others since the last such line")
