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


def test_separate_releases_give_no_line() -> None:
    """A release of another channel, salt or class, and the release itself."""
    others = [release(1, 0, 9999, channel="beta"), release(1, 0, 9999, salt="other"),
              release(1, 0, 9999).model_copy(update={"device_classes": ("yard",)})]
    assert list(notes(release(2, 0, 9999), [*others, release(2, 0, 9999)])) == []
    assert share(release(2, 0, 3999)) == 0.4
