"""Collected pictures on disk: what a file tells, quota, age, and what a kill or their owner leaves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.support.fakes import EPOCH, FakeClock
from tests.support.faults import small_disk
from vedette.config.collect import CollectConfig
from vedette.device.wall_clock import SETTLED_S
from vedette.vision import images
from vedette.vision.bounded_png import SIGNATURE
from vedette.workshop.collection import FILE_TIME_S, FOLDER, RECORD, Collection, are_collected, picture_files
from vedette.workshop.selection import Picture

LIMITS = CollectConfig(enabled=True, frames=5, mb=1, hours=1, days=14)
DAY_S = 86_400
VIEW = "the masks"


def png(grey: int) -> bytes:
    return images.encode_png(np.full((12, 16, 3), grey, np.uint8).data, 16)


def noise(seed: int) -> bytes:
    """A picture of about 1.2 kB."""
    return images.encode_png(np.random.default_rng(seed).integers(0, 256, (20, 20, 3)).astype(np.uint8).data, 20)


def offer(collection: Collection, content: bytes, limits: CollectConfig = LIMITS, brightness: float = 100.0) -> bool:
    collection.see(brightness)
    picture = Picture("", 0, brightness, ("car",), False, 0, 16, 12, 0.0)
    return collection.offer(picture, lambda: content, limits)


def loaded(folder: Path, clock: FakeClock, view: str = VIEW) -> Collection:
    collection = Collection(folder, view, clock)
    collection.load()
    return collection


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def three(tmp_path: Path, clock: FakeClock) -> Collection:
    """A collection of three pictures."""
    collection = loaded(tmp_path, clock)
    assert [offer(collection, png(grey), brightness=grey) for grey in (10, 20, 30)] == [True, True, True]
    return collection


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / FOLDER).iterdir()}


def chunks(content: bytes) -> Iterator[bytes]:
    at = len(SIGNATURE)
    while at < len(content):
        yield content[at + 4:at + 8]
        at += 12 + int.from_bytes(content[at:at + 4], "big")


def test_a_file_tells_nothing_but_its_pixels(tmp_path: Path, three: Collection) -> None:
    """No chunk beside the picture, a file time that never changes, and a name that depends on the content alone."""
    for path in (tmp_path / FOLDER).iterdir():
        assert set(chunks(path.read_bytes())) == {b"IHDR", b"IDAT", b"IEND"}
        assert path.stat().st_mtime == FILE_TIME_S
    other = tmp_path / "other"
    other.mkdir()
    clock = FakeClock()
    clock.epoch += timedelta(days=100)
    assert offer(loaded(other, clock), png(20))
    assert names(other) < names(tmp_path)
    assert not offer(three, png(20)), "the same picture twice"


def test_the_quota_holds_at_every_moment(tmp_path: Path, clock: FakeClock) -> None:
    """By number and by bytes; what is given up goes before the new one comes. A picture beyond all limits stays out."""
    collection = loaded(tmp_path, clock)
    for seed in range(12):
        offer(collection, noise(seed), brightness=seed)
        assert len(picture_files(collection.path)) == len(collection.pictures) == min(seed + 1, 5)
    tight = LIMITS.model_copy(update={"mb": 0.004})
    collection.tidy(tight)
    assert len(names(tmp_path)) == 3
    for seed in range(12, 20):
        offer(collection, noise(seed), tight, brightness=seed)
        assert sum(path.stat().st_size for path in picture_files(collection.path)) <= 4000
    assert not offer(collection, noise(30), LIMITS.model_copy(update={"mb": 0.001}))
    assert len(collection.pictures) == 3


def test_a_frame_that_would_not_stay_is_not_encoded(three: Collection) -> None:
    """It is the second one of its tenth, like the first one, so it is given up at once: that costs no write."""
    frame = Picture("", 0, 20.0, ("car",), False, 0, 16, 12, 0.0)
    assert not three.offer(frame, lambda: pytest.fail("encoded"), LIMITS.model_copy(update={"frames": 3}))
    assert len(three.pictures) == 3


def test_a_restart_goes_on(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """Pictures, state and hours are those of the run before."""
    three.watched_s = 1234.5
    three.turn("stopped")
    again = loaded(tmp_path, clock)
    assert again.pictures == three.pictures
    assert (again.state, again.watched_s) == ("stopped", 1234.5)


def test_what_a_kill_leaves_does_not_count(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """Half a picture, and a whole one that the record does not name, are deleted. Files of others stay."""
    folder = tmp_path / FOLDER
    known = names(tmp_path)
    (folder / f".{'a' * 32}.png.77.tmp").write_bytes(png(9)[:40])
    (folder / f"{'b' * 32}.png").write_bytes(png(9))
    (folder / "notes.txt").write_text("mine")
    (folder / f"{'c' * 32}.png").symlink_to(folder / "notes.txt")
    lost = (folder / three.pictures[0].name)
    lost.unlink()
    again = loaded(tmp_path, clock)
    assert names(tmp_path) == known - {lost.name} | {"notes.txt", f"{'c' * 32}.png"}
    assert again.pictures == three.pictures[1:]


@pytest.mark.parametrize("damage", [
    "", "{", '{"version": 2}', "[]", '{"version": 1, "state": "collecting"}',
    '{"version": 1, "state": "stopped", "view": "the masks", "watched_s": 0, "pictures": [{"name": null}]}'])
def test_a_record_that_cannot_be_used(tmp_path: Path, three: Collection, clock: FakeClock, damage: str) -> None:
    """Nobody knows any more what its pictures may show, so they go."""
    (tmp_path / RECORD).write_text(damage)
    assert loaded(tmp_path, clock).pictures == ()
    assert names(tmp_path) == set()


def test_other_masks_delete_what_was_made_before(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """The collection begins anew, also one that was complete."""
    three.watched_s = 3600.0
    three.turn("complete")
    again = loaded(tmp_path, clock, "other masks")
    assert (again.pictures, again.state, again.watched_s, names(tmp_path)) == ((), "collecting", 0.0, set())


def test_pictures_are_deleted_after_their_days(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """Also those of earlier runs. A clock that has just stepped by ten years deletes nothing, and ages nothing."""
    clock.advance(SETTLED_S + 1)
    again = loaded(tmp_path, clock)
    again.tidy(LIMITS)
    clock.epoch = EPOCH + timedelta(days=3650)
    for collection in (three, again):
        collection.tidy(LIMITS)
        clock.advance(SETTLED_S / 2)
        collection.tidy(LIMITS)
        assert len(collection.pictures) == 3
    clock.advance(SETTLED_S)
    three.tidy(LIMITS)
    assert len(three.pictures) == 3, "pictures of this run have their age by the monotonic clock"
    clock.epoch = EPOCH
    again.tidy(LIMITS)
    clock.advance(13.9 * DAY_S)
    again.tidy(LIMITS)
    assert len(names(tmp_path)) == 3
    clock.advance(DAY_S / 2)
    again.tidy(LIMITS)
    assert names(tmp_path) == set()
    assert not again.pictures


def test_a_picture_from_the_future_grows_old_too(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """It was taken before somebody set the clock back."""
    clock.epoch = EPOCH - timedelta(days=3650)
    again = loaded(tmp_path, clock)
    for seconds in (0, SETTLED_S + 1, 14 * DAY_S + 1):
        assert len(again.pictures) == 3
        clock.advance(seconds)
        again.tidy(LIMITS)
    assert again.pictures == ()


def test_the_owner_may_delete_pictures_at_any_time(tmp_path: Path, three: Collection) -> None:
    """They do not count any more. When all are gone, the collection begins anew."""
    three.watched_s = 3600.0
    three.turn("complete")
    first, *others = (tmp_path / FOLDER).iterdir()
    first.unlink()
    three.notice()
    assert (len(three.pictures), three.state) == (2, "complete")
    for path in others:
        path.unlink()
    three.notice()
    assert (three.pictures, three.state, three.watched_s) == ((), "collecting", 0.0)
    assert offer(three, png(10))


def test_the_owner_may_delete_pictures_of_a_stopped_daemon(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """That is the same."""
    three.turn("complete")
    for path in (tmp_path / FOLDER).iterdir():
        path.unlink()
    again = loaded(tmp_path, clock)
    assert (again.pictures, again.state) == ((), "collecting")


def test_cleared_everything_is_gone(tmp_path: Path, three: Collection, clock: FakeClock) -> None:
    """Also what the record does not name. A collection that was stopped stays so; `start` begins a complete one anew.
    """
    (tmp_path / FOLDER / f"{'b' * 32}.png").write_bytes(png(9))
    three.turn("stopped")
    three.clear()
    assert (names(tmp_path), three.state, loaded(tmp_path, clock).state) == (set(), "stopped", "stopped")
    three.watched_s = 3600.0
    three.turn("complete")
    three.turn("collecting")
    assert three.watched_s == 0.0


@pytest.mark.skipif(not small_disk.possible(), reason="needs the right to mount a disk")
def test_a_full_disk_takes_no_picture_but_gives_them_up(tmp_path: Path, clock: FakeClock) -> None:
    """The last 100 MB are left to others. What is there can still be deleted, even if not a byte is free."""
    collection = loaded(tmp_path, clock)
    offer(collection, png(10))
    saved = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with small_disk.mounted(tmp_path, 2):
        (tmp_path / FOLDER).mkdir()
        for path, content in saved.items():
            (tmp_path / path).write_bytes(content)
        again = loaded(tmp_path, clock)
        with pytest.raises(OSError, match="No space left"):
            offer(again, png(20))
        with pytest.raises(OSError, match="No space left"):
            again.tidy(LIMITS)
        small_disk.fill(tmp_path)
        again.clear()
        assert (names(tmp_path), loaded(tmp_path, clock).pictures) == (set(), ())


def test_collected_pictures_are_recognised(tmp_path: Path, three: Collection) -> None:
    """By their names, wherever they were copied to: others beside them, or a changed one, are something else."""
    paths = picture_files(tmp_path / FOLDER)
    assert are_collected(paths)
    (tmp_path / "other.png").write_bytes(png(9))
    assert not are_collected([*paths, tmp_path / "other.png"])
    paths[0].write_bytes(png(9))
    assert not are_collected(paths)
