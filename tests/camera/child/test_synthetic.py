"""The synthetic camera: its pace, its truth, its options, and the health reason of every misbehaviour."""

import contextlib
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.daemon.cameras import Consumer, make_settings, running
from tests.support.waiting.until import eventually
from vedette.camera.child.open_source import open_source
from vedette.camera.child.synthetic import Synthetic
from vedette.camera.open import capture_settings
from vedette.camera.street.options import MISBEHAVIOURS, VIEW_FAULTS, Phase, SyntheticSource, parse_synthetic
from vedette.camera.street.truth import SyntheticTruth
from vedette.config.models import CameraConfig
from vedette.errors import SourceInvalid

SIZE = dict(width=160, height=90)


class Time:
    """A clock that advances only in `sleep`."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.ns = int(seconds * 1e9)

    def now_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.ns += max(1, round(seconds * 1e9))


def source(options: str = "", clock: Time | None = None, **changes: Any) -> tuple[Synthetic, Time]:
    clock = clock or Time()
    return Synthetic(make_settings(f"synthetic{options}", **{**SIZE, "fps": 10.0, **changes}), clock.now_ns,
                     clock.sleep), clock


def test_options_are_read() -> None:
    """Seed, hard and several misbehaviours are read. Without options the source is the demo's street."""
    assert parse_synthetic("synthetic") == SyntheticSource()
    assert parse_synthetic("synthetic?seed=7&hard=1&misbehave=dark:20:5&misbehave=stall:60:8.5") == SyntheticSource(
        7, True, (Phase("dark", 20, 5), Phase("stall", 60, 8.5)))
    assert parse_synthetic("synthetic?quiet=1&hour=6.5") == SyntheticSource(quiet=True, hour=6.5)


@pytest.mark.parametrize("options", [
    "?sed=7", "?seed=-1", "?seed=x", "?seed=", "?seed=1&seed=2", "?hard=yes", "?quiet=2", "?hard=1&quiet=1",
    "?hour=25", "?hour=-1", "?hour=nan", "?hour=noon", "?hour=", "?hard=1&hour=12",
    "?misbehave=sleep:1:1", "?misbehave=dark", "?misbehave=dark:1", "?misbehave=dark:1:0", "?misbehave=dark:nan:1",
    "?misbehave=dark:-1:1", "?misbehave=dark:1:inf", "?misbehave=dark:1:2:3", "?seed", "?seed=99999999999999999999"])
def test_an_option_that_is_not_understood_ends_the_command(options: str) -> None:
    """A wrong option is refused before a child starts, and the message says what was expected."""
    with pytest.raises(SourceInvalid, match=r"expected synthetic, or synthetic\?seed=7") as refusal:
        capture_settings(CameraConfig(source=f"synthetic{options}"))
    assert str(refusal.value).startswith(f"synthetic{options}: ")


@given(st.text(max_size=40))
def test_any_options_are_read_or_refused(text: str) -> None:
    """Whatever follows the question mark gives options or SourceInvalid, nothing else."""
    with contextlib.suppress(SourceInvalid):
        assert parse_synthetic(f"synthetic?{text}").seed >= 0


def test_a_frame_comes_every_period_and_its_stamp_tells_its_truth() -> None:
    """Live frames keep the pace of the clock, and the capture time alone gives their truth."""
    camera, clock = source("?seed=3")
    assert camera.live
    truth = SyntheticTruth("synthetic?seed=3", 160, 90, 10.0)
    stamps = []
    for _ in range(4):
        stamps.append(camera.grab())
        assert stamps[-1] <= clock.ns
        shown = camera.read(None)
        assert truth.captured(stamps[-1])
        assert np.array_equal(shown, truth._picture)
    assert np.diff(stamps) == pytest.approx([1e8] * 3)
    clock.ns += 10**9
    assert camera.grab() - stamps[-1] == pytest.approx(1.1e9, abs=1e8)   # what was missed was never captured


def test_every_frame_begins_at_the_first_and_skips_none() -> None:
    """With every_frame the film begins at frame 0, and the number of a frame is seq - 1."""
    with running(make_settings("synthetic?hard=1", **SIZE, every_frame=True)) as camera:
        truth = SyntheticTruth("synthetic?hard=1", 160, 90, 30.0)
        for number in range(5):
            frame = eventually(lambda: camera.take(1))
            assert frame.seq == number + 1
            truth.numbered(number)
            assert np.array_equal(np.asarray(frame.pixels), truth._picture)
            camera.release(frame)


def test_frames_are_drawn_straight_into_the_slot_when_they_fit() -> None:
    """The source draws into a buffer of the right shape and returns it. It does not change any other buffer."""
    camera, _ = source()
    camera.grab()
    fitting, other = np.zeros((90, 160, 3), np.uint8), np.zeros((45, 80, 3), np.uint8)
    assert camera.read(fitting) is fitting
    assert camera.read(other) is not other
    assert not other.any()


def shown(options: str, seconds: float, **changes: Any) -> tuple[list[float], list[np.ndarray]]:
    """Return the stamps (s) and pictures of a source over `seconds`."""
    camera, clock = source(options, **changes)
    begin, stamps, pictures = clock.ns / 1e9, [], []
    while clock.ns / 1e9 < begin + seconds:
        stamps.append(camera.grab() / 1e9 - begin)
        pictures.append(camera.read(None).copy())
    return stamps, pictures


def test_a_stall_gives_nothing_until_it_is_over() -> None:
    """No frame comes while the source stalls."""
    stamps, _ = shown("?misbehave=stall:4:6", 25)
    assert max(np.diff(stamps)) == pytest.approx(6.1)


def test_a_slow_source_gives_a_frame_in_five_seconds() -> None:
    """0.2 frames per second while it is slow."""
    stamps, _ = shown("?misbehave=slow:5:20", 25)
    assert sorted(np.diff(stamps))[-3:] == pytest.approx([5, 5, 5], abs=0.1)


def test_a_frozen_source_stamps_one_picture_anew() -> None:
    """Frozen pictures are identical bit for bit, but their stamps advance. The truth is that of the picture."""
    stamps, pictures = shown("?misbehave=freeze:3:2", 5)
    same = [np.array_equal(a, b) for a, b in itertools.pairwise(pictures)]
    assert sum(same) == pytest.approx(19, abs=1)
    assert min(np.diff(stamps)) > 0.09
    truth = SyntheticTruth("synthetic?misbehave=freeze:3:2", 160, 90, 10.0)
    assert truth.numbered(10035) == truth.numbered(10049) != truth.numbered(10050)


def test_a_repeating_source_hands_out_a_frame_with_its_old_stamp() -> None:
    """While it repeats, neither picture nor stamp advances."""
    stamps, pictures = shown("?misbehave=repeat:3:2", 5)
    again = [number for number, step in enumerate(np.diff(stamps)) if step == 0]
    assert len(again) == pytest.approx(19, abs=1)
    assert all(np.array_equal(pictures[number], pictures[number + 1]) for number in again)


def test_a_dark_source_is_black_and_has_no_truth() -> None:
    """Nothing can be seen in the dark, and the truth is empty."""
    _, pictures = shown("?misbehave=dark:0:10", 1)
    assert all(picture.mean() < 4 and picture.std() < 3 for picture in pictures)
    assert SyntheticTruth("synthetic?misbehave=dark:0:10", 160, 90, 10.0).numbered(10) == ()


def test_a_source_can_change_its_size_and_give_garbage() -> None:
    """Pictures can have half the size. Garbage is refused as from any source."""
    assert {picture.shape for picture in shown("?misbehave=size:2:2", 4)[1]} == {(90, 160, 3), (45, 80, 3)}
    camera, _ = source("?misbehave=garbage:0:10")
    camera.grab()
    with pytest.raises(SourceInvalid, match="expected a picture"):
        camera.read(None)


@pytest.mark.parametrize("kind", sorted(VIEW_FAULTS))
def test_a_fault_of_the_view_changes_the_picture_and_its_truth(kind: str) -> None:
    """When covered, nothing can be seen. When moved, all boxes shift by the same share. Else the truth stays."""
    (well,), (ill,) = shown("", 0.05)[1], shown(f"?misbehave={kind}:0:10", 0.05)[1]
    assert not np.array_equal(well, ill)
    was = SyntheticTruth("synthetic", 160, 90, 10.0).numbered(10)
    now = SyntheticTruth(f"synthetic?misbehave={kind}:0:10", 160, 90, 10.0).numbered(10)
    if kind == "cover":
        assert now == ()
    elif kind == "move":
        assert 0 < len(now) <= len(was)
        pairs = [(a.box, b.box) for a in was for b in now
                 if (a.label, round(a.box.xmax - b.box.xmax, 6), round(a.box.ymax - b.box.ymax, 6))
                 == (b.label, 0.12, 0.06)]
        assert len(pairs) == len(now)
        assert all(before.xmin - after.xmin <= 0.12 + 1e-9 and after.xmin >= 0 for before, after in pairs)
    else:
        assert now == was


REASONS = {"stall": "camera_stalled", "freeze": "camera_frozen", "dark": "camera_black", "slow": "camera_stalled",
           "size": "camera_size", "repeat": "camera_rate", "garbage": "camera_offline"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MISBEHAVIOURS if kind not in VIEW_FAULTS])
def test_a_misbehaviour_is_named_by_the_camera(kind: str) -> None:
    """Every misbehaviour in a real child gives its own health reason."""
    ill = 1 if kind == "size" else 60
    options = f"synthetic?misbehave={kind}:{1 if kind == 'size' else 0}:{ill}"
    with running(make_settings(options, **SIZE, frozen_after_s=0.5)) as camera, Consumer(camera):
        eventually(lambda: REASONS[kind] in camera.reasons(), within_s=30)


@pytest.mark.slow
def test_frames_flow_again_after_garbage() -> None:
    """A source that gave garbage is reopened, and the reason ends when pictures come."""
    with running(make_settings("synthetic?misbehave=garbage:5:1", **SIZE)) as camera, Consumer(camera):
        eventually(lambda: "camera_offline" in camera.reasons())
        eventually(lambda: not camera.reasons() and camera.status().state == "capturing")


def test_it_is_opened_by_its_name() -> None:
    """`synthetic` opens the drawn street."""
    assert isinstance(open_source(make_settings("synthetic", **SIZE)), Synthetic)
