"""Non-maximum suppression against a second implementation."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.truth import decoder_references as reference
from vedette.types import Box
from vedette.vision.nms import Candidate, suppress

grid = st.integers(0, 12)
boxes = st.builds(lambda x, y, w, h: Box(x / 8, y / 8, (x + w) / 8, (y + h) / 8), grid, grid, st.integers(1, 8),
                  st.integers(1, 8))
one = st.builds(Candidate, st.sampled_from((0.9, 0.7, 0.5)), st.integers(0, 2), boxes)
candidates = st.lists(one, max_size=60).map(lambda found: sorted(found, key=lambda candidate: -candidate.score))


def rows(found: list[Candidate]) -> list[tuple[float, int, float, float, float, float]]:
    return [(candidate.score, candidate.class_id, *candidate.box) for candidate in found]


@given(candidates, st.sampled_from((0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0)), st.integers(1, 40))
def test_the_same_as_the_reference(found: list[Candidate], iou_threshold: float, most: int) -> None:
    """The kept boxes are the same. They lie on a coarse grid, so that overlaps can equal the threshold exactly."""
    assert rows(suppress(found, iou_threshold, most)) == reference.suppressed(rows(found), iou_threshold, most)


@given(candidates)
def test_suppression_is_idempotent(found: list[Candidate]) -> None:
    """A second suppression changes nothing, and the best candidate is always kept."""
    once = suppress(found, 0.5, 1000)
    assert suppress(once, 0.5, 1000) == once
    assert once[:1] == found[:1]


def test_classes_do_not_suppress_each_other() -> None:
    """The same box with two classes is two objects."""
    box = Box(0, 0, 1, 1)
    both = [Candidate(0.9, 0, box), Candidate(0.8, 1, box), Candidate(0.7, 0, box)]
    assert suppress(both, 0.5, 10) == both[:2]


def test_an_overlap_of_exactly_the_threshold_is_kept() -> None:
    """Half of a box overlaps it by 0.5: that is not more than a threshold of 0.5, but more than any lower one."""
    whole, half = Candidate(0.9, 0, Box(0, 0, 1, 1)), Candidate(0.8, 0, Box(0, 0, 1, 0.5))
    assert suppress([whole, half], 0.5, 10) == [whole, half]
    assert suppress([whole, half], 0.499, 10) == [whole]
