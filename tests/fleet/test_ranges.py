"""Releases that share devices."""

from typing import Any

from vedette.fleet.ranges import notes, share
from vedette.store.release import Release


def release(number: int, first: int, last: int, **more: Any) -> Release:
    return Release(name="street", version=str(number), release=number, device_classes=("default",),
                   buckets=(first, last), **{"channel": "stable", **more})


BASE = release(1, 0, 9999)


def test_a_higher_release_takes_devices_over() -> None:
    """A canary gives a line without a warning."""
    assert list(notes(release(2, 0, 3999), [BASE])) == ["buckets 0-3999 leave release 1 (street 1)"]


def test_one_common_bucket_is_shared() -> None:
    """The first and the last bucket belong to a range."""
    assert list(notes(release(2, 4000, 9999), [release(1, 0, 4000)])) == [
        "buckets 4000-4000 leave release 1 (street 1)"]
    assert list(notes(release(2, 4001, 9999), [release(1, 0, 4000)])) == []


def test_a_lower_release_does_not_get_what_a_higher_one_has() -> None:
    """It would reach no device there, so there is a warning."""
    (told,) = notes(BASE, [release(2, 5000, 7000)])
    assert told.startswith("warning: buckets 5000-7000 stay with release 2")


def test_two_variants_that_overlap_spoil_the_comparison() -> None:
    """The warning names both variants and the one that runs; two without common buckets give none."""
    a, b = release(2, 0, 4999, variant="a"), release(3, 4000, 9999, variant="b")
    for one, other in ((a, b), (b, a)):
        (told,) = notes(one, [other])
        assert told.startswith("warning: buckets 4000-4999")
        assert "only b runs there, so a is compared on fewer" in told
    assert list(notes(a, [release(3, 5000, 9999, variant="b")])) == []


def test_two_salts_share_devices_by_chance() -> None:
    """How many devices are in both ranges is said, unless one release is for all of them."""
    own = {"salt": "own"}
    assert list(notes(release(2, 0, 99, **own), [BASE])) == ["buckets 0-99 leave release 1 (street 1)"]
    assert list(notes(release(3, 0, 99, **own), [release(2, 100, 199)])) == [
        "about 0.01% of the devices leave release 2 (street 2)"]
    (told,) = notes(release(2, 0, 4999, **own), [release(3, 9000, 9999)])
    assert told.startswith("warning: about 5% of the devices stay with release 3")
    a, b = release(2, 0, 4999, variant="a", **own), release(3, 5000, 9999, variant="b")
    (told,) = notes(b, [a])
    assert told.startswith("warning: about 25% of the devices are also in release 2, variant a: only b runs there")
    assert told.endswith("give both the same --salt")


def test_a_canary_shares_its_devices_with_the_stable_channel() -> None:
    """A device on a canary channel takes stable releases too, and no device is on two canary channels."""
    canary = release(2, 0, 9999, channel="canary-eu")
    assert list(notes(canary, [BASE])) == ["buckets 0-9999 (channel canary-eu) leave release 1 (street 1)"]
    (told,) = notes(BASE, [canary])
    assert told.startswith("warning: buckets 0-9999 (channel canary-eu) stay with release 2")
    assert list(notes(canary, [release(1, 0, 9999, channel="canary")])) == []


def test_tags_limit_what_is_shared() -> None:
    """A device with all tags of both releases is in both."""
    inside, south = release(1, 0, 9999, tags=("indoor",)), release(2, 0, 99, tags=("south", "indoor"))
    assert list(notes(south, [inside])) == ["buckets 0-99 (tags indoor, south) leave release 1 (street 1)"]


def test_separate_releases_give_no_line() -> None:
    """A release of another channel, class or kind, and the release itself."""
    others = [release(1, 0, 9999, channel="beta"), release(1, 0, 9999, kind="configuration"),
              release(1, 0, 9999).model_copy(update={"device_classes": ("yard",)})]
    assert list(notes(release(2, 0, 9999), [*others, release(2, 0, 9999)])) == []
    assert share(release(2, 0, 3999)) == 0.4
