"""Laws and examples of what is published."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.models import PublishConfig
from vedette.messages.publish_rules import CountsRule, PublishRule, count_labels
from vedette.types import Box, Detection

MS = 1_000_000
START_NS = 5_000_000_000
UNLIMITED = 1e9

Scene = tuple[str, ...]
scenes = st.sampled_from([(), ("person",), ("person", "person"), ("car", "person")])
timed_scenes = st.lists(st.tuples(st.integers(1, 700), scenes), min_size=1, max_size=60)


def detections_of(scene: Scene) -> tuple[Detection, ...]:
    return tuple(Detection(label, 0, 0.9, Box(0.1, 0.1, 0.2, 0.2)) for label in scene)


def publish(results: str, *, refresh_s: float = 1e6, max_per_s: float = UNLIMITED) -> PublishConfig:
    return PublishConfig.model_validate({"results": results, "refresh_s": refresh_s, "max_per_s": max_per_s})


def published_of(rule: PublishRule, timed: Sequence[tuple[int, Scene]]) -> list[tuple[int, Scene]]:
    """Feed pairs (milliseconds since the last one, scene). Return what was published, and when."""
    now_ns, published = START_NS, []
    for wait_ms, scene in timed:
        now_ns += wait_ms * MS
        if rule.should_publish(detections_of(scene), now_ns):
            published.append((now_ns, scene))
    return published


def test_counts_in_the_order_of_labels() -> None:
    """Counts are per label. Equal scenes give equal bytes in any order of scores."""
    assert list(count_labels(detections_of(("person", "car", "person"))).items()) == [("car", 1), ("person", 2)]


@given(timed=timed_scenes, mode=st.sampled_from(["all", "detections", "changes"]), max_per_s=st.sampled_from([1, 2, 5]))
def test_every_result_is_counted_and_the_rate_kept(timed: list[tuple[int, Scene]], mode: str, max_per_s: int) -> None:
    """Published plus suppressed are all results. No second has more than max_per_s published results."""
    rule = PublishRule(publish(mode, max_per_s=max_per_s, refresh_s=2))
    published = published_of(rule, timed)
    assert rule.published == len(published)
    assert rule.published + rule.suppressed.total() == len(timed)
    for (first_ns, _), (next_ns, _) in zip(published, published[max_per_s:], strict=False):
        assert next_ns - first_ns >= 1_000_000_000


@given(timed=timed_scenes)
def test_all_publishes_all(timed: list[tuple[int, Scene]]) -> None:
    """Mode `all` publishes every result that the rate allows."""
    assert len(published_of(PublishRule(publish("all")), timed)) == len(timed)


@given(timed=timed_scenes)
def test_detections_and_the_first_empty_one_after(timed: list[tuple[int, Scene]]) -> None:
    """Mode `detections` publishes results with detections, and one empty result after them."""
    before: list[Scene] = [(), *(scene for _, scene in timed)]
    expected = [scene for was, (_, scene) in zip(before, timed, strict=False) if scene or was]
    assert [scene for _, scene in published_of(PublishRule(publish("detections")), timed)] == expected


@given(timed=timed_scenes, last=scenes, mode=st.sampled_from(["changes", "detections"]))
def test_no_change_is_lost(timed: list[tuple[int, Scene]], last: Scene, mode: str) -> None:
    """A scene that stays is what was published last, whatever came before, and at any rate."""
    published = published_of(PublishRule(publish(mode, max_per_s=1)), [*timed, (1, last), (1, last), (1000, last)])
    assert (published[-1][1] if published else ()) == last


@given(timed=timed_scenes)
def test_changes_are_stable(timed: list[tuple[int, Scene]]) -> None:
    """Mode `changes` never publishes the same twice. After the first, two results must agree."""
    rule = PublishRule(publish("changes"))
    now_ns, last, before = START_NS, None, None
    for wait_ms, scene in timed:
        now_ns += wait_ms * MS
        if rule.should_publish(detections_of(scene), now_ns):
            assert scene != last
            assert last is None or scene == before
            last = scene
        before = scene


def test_a_flicker_is_not_a_change() -> None:
    """One result that differs from its neighbours is not published."""
    scenes_seen: list[Scene] = [("person",), ("person",), (), ("person",), ("person", "car"), ("person",)]
    assert len(published_of(PublishRule(publish("changes")), [(100, scene) for scene in scenes_seen])) == 1


def test_a_delayed_change_comes_with_the_next_allowed_result() -> None:
    """A change that the rate delays is not lost, even if the next allowed result differs again."""
    rule = PublishRule(publish("changes", max_per_s=1))
    steps: list[tuple[int, Scene]] = [(1, ()), (100, ("person",)), (100, ("person",)), (900, ("car",))]
    assert [scene for _, scene in published_of(rule, steps)] == [(), ("car",)]
    assert rule.suppressed == {"unchanged": 1, "rate": 1}


def test_an_unchanged_scene_is_published_again() -> None:
    """An unchanged scene is published again every refresh_s."""
    published = published_of(PublishRule(publish("changes", refresh_s=10)), [(1000, ("person",))] * 31)
    assert [(at_ns - START_NS) // (1000 * MS) for at_ns, _ in published] == [1, 11, 21, 31]


@pytest.mark.parametrize("jitter_ms", [0, 3])
def test_a_source_at_the_limit_loses_few_results(jitter_ms: int) -> None:
    """Results that come at max_per_s with a little jitter are not halved."""
    steps: list[tuple[int, Scene]] = [(200 + jitter_ms * (-1) ** n, ()) for n in range(100)]
    assert len(published_of(PublishRule(publish("all", max_per_s=5)), steps)) >= 80


def test_a_reload_between_two_results() -> None:
    """A new configuration applies from the next result on."""
    rule = PublishRule(publish("detections"))
    assert published_of(rule, [(100, ())]) == []
    rule.publish = publish("all")
    assert len(published_of(rule, [(100, ())])) == 1
    assert repr(rule) == "<PublishRule all published=1 suppressed={'unchanged': 1}>"


def test_counts_are_published_once_stable() -> None:
    """The first counts are published at once, a change when two results agree. `forget` makes them first again."""
    rule = CountsRule()
    assert rule.changed({})
    rule.note({})
    assert [rule.changed({"car": 1}), rule.changed({"car": 1})] == [False, True]
    rule.note({"car": 1})
    assert not rule.changed({"car": 1})
    rule.forget()
    assert rule.changed({"car": 1})


@pytest.mark.parametrize(("mode", "due"), [("changes", [False, False, True]), ("all", [False] * 3),
                                          ("detections", [False] * 3)])
def test_a_result_is_due_where_silence_means_trouble(mode: str, due: list[bool]) -> None:
    """With `changes` one is due `refresh_s` after the last one."""
    rule, found = PublishRule(publish(mode, refresh_s=10)), []
    found.append(rule.is_due(START_NS))
    rule.should_publish([], START_NS)
    found += [rule.is_due(START_NS + 9_999 * MS), rule.is_due(START_NS + 10_000 * MS)]
    assert found == due
