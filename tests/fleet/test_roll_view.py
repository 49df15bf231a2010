"""What the devices of a rollout do: who counts, who is silent, and who is left out."""

from __future__ import annotations

from dataclasses import replace

from vedette.fleet.outcomes import Tally
from vedette.fleet.roll_view import RollView, named
from vedette.fleet.roster import ConfigurationRow, Row
from vedette.store.release import Release, Target, bucket_of
from vedette.types import Receiver

RELEASE = Release(name="street", version="4", release=7, device_classes=("default",), channel="stable", salt="x")
TARGET = Target("7/street-4.tflite", 1, "a" * 64, RELEASE)
OLD = Row("", online=True, state="good", release=6, health="ok", health_at="2026-11-30T12:00:00Z",
          receiver=Receiver("default", "stable"))
GOOD = replace(OLD, release=7, last_release=7, last_ok=True)
BAD = replace(OLD, failed="blind", last_release=7, last_ok=False)
NAMES = tuple(f"gate-{number}" for number in range(10))


def rows(**kinds: Row) -> dict[str, Row]:
    """All devices run the old release but those that are named, such as gate_3."""
    return {name: replace(kinds.get(name.replace("-", "_"), OLD), device=name) for name in NAMES}


def view(left_out: dict[str, str] | None = None, **kinds: Row) -> RollView:
    made = RollView(TARGET, NAMES, left_out or {}, silent_after_s=900)
    made.begin(rows(**kinds), 0)
    return made


def tally(seen: RollView, now_s: float = 0, end: int = 10_000, since_s: float = 0) -> Tally:
    return seen.tally(end, since_s, now_s)


def test_each_device_counts_once_in_its_bucket() -> None:
    """The devices of the buckets before the end are expected, no others; strangers count for nothing."""
    seen = view(gate_1=GOOD, gate_2=BAD)
    seen.update({**rows(gate_1=GOOD, gate_2=BAD), "stranger": replace(GOOD, device="stranger")}, 1)
    assert tally(seen) == Tally(10, 1, 0, {"blind": 1}, 0, 8)
    assert list(seen.buckets) == sorted(bucket_of("x", name) for name in NAMES)
    assert [tally(seen, end=end).expected for end in (0, seen.buckets[3], seen.buckets[3] + 1)] == [0, 3, 4]


def test_who_says_nothing_new_is_silent_after_its_time() -> None:
    """A wrong clock of a device makes it neither silent nor alive; only what is new does."""
    seen = view(gate_1=replace(GOOD, health_at="1999-01-01T00:00:00Z"), gate_2=replace(GOOD, health_at="2999-01-01"))
    assert tally(seen, 899).silent == 0
    assert tally(seen, 900).silent == 10
    alive = replace(GOOD, health_at="1999-01-01T00:00:30Z")
    seen.update(rows(gate_1=alive, gate_2=replace(GOOD, health_at="2999-01-01")), 600)
    assert (tally(seen, 900).silent, tally(seen, 900).good) == (9, 1)
    assert tally(seen, 1500).silent == 10


def test_who_is_offline_is_not_good_and_silent_only_after_its_time() -> None:
    """An availability that comes back is a sign of life, one that goes is none."""
    seen = view(gate_1=GOOD)
    seen.update(rows(gate_1=replace(GOOD, online=False)), 600)
    assert (tally(seen, 899).good, tally(seen, 899).waiting, tally(seen, 900).silent) == (0, 10, 10)
    seen.update(rows(gate_1=GOOD), 1000)
    assert (tally(seen, 1000).good, tally(seen, 1000).silent) == (1, 9)


def test_silence_counts_from_the_step_and_from_the_connection() -> None:
    """Nobody is silent before there was time to speak."""
    seen = view()
    assert tally(seen, 1000, since_s=200).silent == 0
    seen.end()
    assert tally(seen, 10_000).silent == 0
    seen.begin(rows(), 5000)
    assert (tally(seen, 5899).silent, tally(seen, 5900).silent) == (0, 10)


def test_a_failure_counts_although_the_device_is_silent_now() -> None:
    """It may be silent because of the release."""
    seen = view(gate_1=replace(BAD, online=False))
    assert tally(seen, 10_000).failed == {"blind": 1}


def test_a_device_that_was_never_heard_is_silent() -> None:
    """Its name was known when the rollout began."""
    seen = RollView(TARGET, NAMES, {}, silent_after_s=900)
    seen.begin({}, 0)
    assert (tally(seen, 899).waiting, tally(seen, 900).silent) == (10, 10)


def test_who_cannot_report_is_unfit() -> None:
    """Silent, pinned and failed devices are named before a step, and are not expected in it.

    A device without a health is silent: perhaps the broker's access rules hide it, and then nobody knows who lives.
    """
    failed = replace(OLD, health="failed", reasons=("camera_offline",))
    seen = view(gate_1=replace(OLD, online=False), gate_2=replace(OLD, state="pinned"), gate_3=failed,
                gate_4=replace(OLD, failed="slow", last_release=6, last_ok=False),
                gate_5=replace(OLD, health=None, health_at=None))
    unfit = seen.unfit(0, 10_000, 0)
    assert unfit == {"gate-1": "silent", "gate-2": "pinned", "gate-3": "failed", "gate-5": "silent"}
    assert named(unfit) == "1 failed (gate-3), 1 pinned (gate-2), 2 silent (gate-1, gate-5)"
    assert len(seen.fit(unfit)) == 6
    assert seen.among(unfit, bucket_of("x", "gate-2")).keys() == {
        name for name in unfit if bucket_of("x", name) < bucket_of("x", "gate-2")}
    seen.leave_out(unfit)
    assert tally(seen).expected == 6


def test_who_was_left_out_counts_once_it_speaks_about_the_release() -> None:
    """The old trouble of such a device does not count, but a failure of this release does."""
    out = {"gate-1": "silent", "gate-2": "silent", "gate-3": "failed"}
    camera = replace(GOOD, last_release=None, last_ok=None, health="failed", reasons=("camera_offline",))
    seen = view(out, gate_1=GOOD, gate_2=BAD, gate_3=camera)
    assert tally(seen) == Tally(9, 1, 0, {"blind": 1}, 0, 7)


def test_a_configuration_counts_like_a_model() -> None:
    """Its reports are in the configuration part of the message; a pinned model does not matter."""
    target = replace(TARGET, release=RELEASE.model_copy(update={"kind": "configuration"}))
    seen = RollView(target, NAMES, {"gate-2": "silent"}, silent_after_s=900)
    mine = replace(OLD, state="pinned", configuration=ConfigurationRow("good", 7, None, 7, None, last_ok=True))
    bad = replace(OLD, configuration=ConfigurationRow("none", None, "unhealthy", 7, None, last_ok=False))
    seen.begin(rows(gate_1=mine, gate_2=bad), 0)
    assert tally(seen) == Tally(10, 1, 0, {"unhealthy": 1}, 0, 8)
    assert seen.unfit(0, 10_000, 0) == {}
