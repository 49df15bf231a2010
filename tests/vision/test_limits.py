"""Limits compiled for the classes of a model."""

from typing import Any

import pytest

from vedette.vision.limits import NEVER, Limits


def limits(**changes: Any) -> Limits:
    return Limits(**{"score_threshold": 0.5, "iou_threshold": 0.5, "max_detections": 10, "labels": {},
                     "allow": frozenset(), "deny": frozenset(), **changes})


def test_thresholds_of_single_labels() -> None:
    """A label's own threshold replaces the general one; ids beyond the list have the general one."""
    assert limits(labels={"dog": 0.7}).thresholds(("cat", "dog")).tolist() == [0.5, 0.7, 0.5]


def test_lists_of_labels() -> None:
    """Only allowed labels pass, denied ones never do, and a class without a label is never on an allow list."""
    assert limits(deny=frozenset({"cat"})).thresholds(("cat", "dog")).tolist() == [NEVER, 0.5, 0.5]
    assert limits(allow=frozenset({"cat"})).thresholds(("cat", "dog")).tolist() == [0.5, NEVER, NEVER]
    assert limits(allow=frozenset({"cat"}), deny=frozenset({"cat"})).threshold_of("cat") == NEVER


@pytest.mark.parametrize("label", ["???", "background", ""])
def test_placeholders_are_never_detected(label: str) -> None:
    """Entries of a label map that name no class never become detections."""
    assert limits(labels={label: 0.1}).threshold_of(label) == NEVER
