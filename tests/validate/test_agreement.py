"""Two lists of detections are paired correctly."""

from hypothesis import given
from hypothesis import strategies as st

from vedette.types import Box, Detection
from vedette.validate.agreement import SAME_OBJECT_IOU, match, total

edges = st.floats(0, 0.5)
detections = st.lists(st.builds(
    lambda label, score, x, y, w, h: Detection(label, "ab".index(label), score, Box(x, y, x + w, y + h)),
    st.sampled_from("ab"), st.floats(0, 1), edges, edges, st.floats(0.01, 0.5), st.floats(0.01, 0.5)), max_size=8)


@given(detections)
def test_a_list_agrees_with_itself(found: list[Detection]) -> None:
    """Every detection is paired with itself: F1 is 1 and the distance is 0."""
    agreement = match(found, found)
    assert (agreement.f1, len(agreement.pairs)) == (1.0, len(found))
    assert agreement.mean_iou in {None, 1.0}


@given(detections, detections)
def test_nothing_is_lost_or_paired_twice(one: list[Detection], other: list[Detection]) -> None:
    """Every detection is in one pair or in none; pairs share a label and overlap; the sides can be swapped."""
    agreement = match(one, other)
    assert len(agreement.pairs) + len(agreement.only_one) == len(one)
    assert len(agreement.pairs) + len(agreement.only_other) == len(other)
    assert all(pair.one.label == pair.other.label and pair.iou >= SAME_OBJECT_IOU for pair in agreement.pairs)
    assert 0 <= agreement.f1 <= 1
    assert agreement.f1 == match(other, one).f1


@given(detections, detections)
def test_frames_add_up_by_label(one: list[Detection], other: list[Detection]) -> None:
    """The parts of all labels add up to the total."""
    whole = total([match(one, other), match(other, one)])
    parts = [whole.for_label(label) for label in whole.labels]
    assert sum(len(part.pairs) for part in parts) == len(whole.pairs)
    assert sum(len(part.only_one) for part in parts) == len(one) + len(other) - len(whole.pairs)


def test_the_best_overlap_is_paired_first() -> None:
    """If two boxes overlap one, the one that overlaps more is paired, in any order."""
    def thing(x: float, score: float) -> Detection:
        return Detection("a", 0, score, Box(x, 0.0, x + 0.4, 0.4))
    agreement = match([thing(0.1, 0.9)], [thing(0.2, 0.8), thing(0.11, 0.5)])
    assert [(round(pair.score_shift, 3), len(agreement.only_other)) for pair in agreement.pairs] == [(-0.4, 1)]
    assert agreement.distance > 1
