"""Which release a device takes, what it refuses before trying, and what time it believes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vedette.errors import ModelTooSlow, UpdateRefused
from vedette.store.release import Release, Target, bucket_of
from vedette.store.state import Refused, StoreState
from vedette.types import Receiver
from vedette.update.rules import SET_CLOCK, admit, admit_labels, admit_latency, choose, reference_time

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def target(release: int, *, buckets: tuple[int, int] = (0, 9999), device_class: str = "default",
           channel: str = "stable", sha256: str | None = None) -> Target:
    return Target(path=f"street/street-{release}.tflite", length=1000, sha256=sha256 or f"{release:064x}",
                  release=Release(name="street", version=str(release), release=release, channel=channel,
                                  device_classes=(device_class,), buckets=buckets, salt=""))


def chosen(*targets: Target, state: StoreState | None = None, any_bucket: bool = False) -> int | None:
    found = choose(targets, device="gate-01", receiver=Receiver("default", "stable"), any_bucket=any_bucket,
                   state=state or StoreState())
    return found.release.release if found else None


def refusing(sha256: str) -> StoreState:
    return StoreState(refused=(Refused(sha256=sha256, release=3, why="blind", at=NOW),))


def test_the_highest_release_that_is_for_us_is_taken() -> None:
    """Other classes, channels and buckets are not ours, however high; the order of the list means nothing."""
    bucket = bucket_of("", "gate-01")
    others = [target(9, device_class="dome"), target(8, channel="beta"), target(7, buckets=(bucket + 1, 9999)),
              target(6, buckets=(0, bucket - 1))]
    assert chosen(*others, target(4), target(5, buckets=(bucket, bucket)), target(3)) == 5
    assert chosen(*reversed([*others, target(4), target(5, buckets=(bucket, bucket)), target(3)])) == 5
    assert chosen(*others) is None


def test_a_configuration_is_no_model() -> None:
    """It is chosen apart from the models, and no operator can install it as one."""
    configuration = target(9)
    configuration = replace(configuration, release=configuration.release.model_copy(update={"kind": "configuration"}))
    assert chosen(target(4), configuration) == 4
    with pytest.raises(UpdateRefused, match="unsigned"):
        admitted(configuration.sha256, (configuration,))


def test_a_folder_has_no_buckets() -> None:
    """A folder's releases of all buckets are for this device."""
    bucket = bucket_of("", "gate-01")
    assert chosen(target(7, buckets=(bucket + 1, 9999)), any_bucket=True) == 7


def test_a_refused_digest_is_left_out() -> None:
    """The next lower release is taken, and a newer one with other content."""
    state = refusing(target(5).sha256)
    assert chosen(target(4), target(5), state=state) == 4
    assert chosen(target(4), target(5), target(6), state=state) == 6
    assert chosen(target(4), target(6, sha256=target(5).sha256), state=state) == 4


def test_a_withdrawn_release_gives_way_to_what_then_matches() -> None:
    """If the highest release is withdrawn, the next lower one is chosen."""
    assert chosen(target(4), target(5)) == 5
    assert chosen(target(4)) == 4


def test_an_operators_rollback_holds_until_a_higher_release() -> None:
    """Neither the release left nor a lower one comes back."""
    state = StoreState(held=5)
    assert chosen(target(4), target(5), state=state) is None
    assert chosen(target(4), target(5), target(6), state=state) == 6


def admitted(sha256: str, known: tuple[Target, ...] = (), *, state: StoreState | None = None,
             require_signed: bool = True, pinned: Path | None = None, force: bool = False) -> Target | None:
    return admit(sha256, known, state=state or StoreState(), device_class="default", require_signed=require_signed,
                 pinned=pinned, force=force)


def test_a_loose_bundle_is_admitted_where_metadata_names_it_or_signing_is_not_required() -> None:
    """The target that names it tells the release; of two the higher one."""
    twice = (target(3, sha256="a" * 64), target(4, sha256="a" * 64), target(9))
    assert admitted("a" * 64, twice) == twice[1]
    assert admitted("b" * 64, twice, require_signed=False) is None


@pytest.mark.parametrize("require_signed", [True, False])
def test_a_bundle_for_another_class_is_refused(require_signed: bool) -> None:
    """A bundle that is signed only for other device classes is refused, even with --force."""
    with pytest.raises(UpdateRefused, match=r"^wrong class: .* released for dome; this device is default"):
        admitted("a" * 64, (target(3, sha256="a" * 64, device_class="dome"),), require_signed=require_signed)
    with pytest.raises(UpdateRefused, match=r"^wrong class: "):
        admitted("a" * 64, (target(3, sha256="a" * 64, device_class="dome"),), require_signed=require_signed,
                 force=True)


def test_an_unsigned_bundle_is_refused() -> None:
    """An unsigned bundle is refused even with --force."""
    with pytest.raises(UpdateRefused, match=r"^unsigned: .* update\.require_signed"):
        admitted("b" * 64, (target(3),), force=True)


def test_a_pinned_device_takes_nothing() -> None:
    """Even by force, and the line to remove is named."""
    with pytest.raises(UpdateRefused, match=r"^pinned: detector\.model is /models/mine\.tflite"):
        admitted("a" * 64, require_signed=False, pinned=Path("/models/mine.tflite"), force=True)


def test_a_refused_digest_comes_back_by_force_only() -> None:
    """A refused digest stays refused with its earlier reason, unless it is forced."""
    state = refusing("a" * 64)
    with pytest.raises(UpdateRefused, match=r"^refused before: .* 2026-11-21 \(blind\)"):
        admitted("a" * 64, state=state, require_signed=False)
    assert admitted("a" * 64, state=state, require_signed=False, force=True) is None


def test_a_label_that_the_configuration_names_must_be_there() -> None:
    """Each missing label is named."""
    admit_labels(("person", "car", "dog"), ("person", "dog"))
    with pytest.raises(UpdateRefused, match=r"^labels: the model lacks dog, cat, "):
        admit_labels(("person", "car"), ("person", "dog", "cat"))


def test_a_model_slower_than_the_budget_is_refused() -> None:
    """The time may equal the budget; without a budget any time is accepted."""
    admit_latency("street", 10.0, 10.0)
    admit_latency("street", 1e6, None)
    with pytest.raises(ModelTooSlow, match=r"^latency: street takes 10\.1 ms for a frame; expected at most 10 "):
        admit_latency("street", 10.1, 10.0)


@pytest.mark.parametrize(("clock", "synced", "persisted", "expected"), [
    (NOW, True, None, NOW),
    (NOW, False, None, NOW),
    (NOW, True, NOW - DAY, NOW),
    (NOW, False, NOW + DAY, NOW + DAY),
    (datetime(1970, 1, 1, tzinfo=UTC), False, None, None),
    (SET_CLOCK - timedelta(seconds=1), False, None, None),
    (SET_CLOCK, False, None, SET_CLOCK),
    (datetime(1970, 1, 1, tzinfo=UTC), False, NOW, NOW),
    (SET_CLOCK - DAY, True, None, SET_CLOCK - DAY),
])
def test_the_time_believed(clock: datetime, synced: bool, persisted: datetime | None,
                           expected: datetime | None) -> None:
    """The later of the clock and the newest time trusted; a clock that was never set says nothing."""
    assert reference_time(clock, synced=synced, persisted=persisted) == expected
