"""Average precision is computed as COCO does, from the truth of the commands."""

import json
from pathlib import Path

import pytest

from vedette.errors import SourceInvalid, SourceMissing
from vedette.types import Box, Detection
from vedette.validate.average_precision import LabelPrecision, Truth, average_precision

pytest.importorskip("pycocotools", reason="COCO AP needs the eval extra")
BOX, ELSEWHERE = Box(0.1, 0.2, 0.4, 0.8), Box(0.6, 0.6, 0.9, 0.9)


@pytest.fixture
def truth() -> Truth:
    truth = Truth.of_labels(("cat", "dog", "owl"))
    for image_id in (1, 2):
        truth.add(image_id, 200, 100, [("cat", BOX), ("dog", ELSEWHERE)])
    return truth


def seen(label: str, box: Box, score: float = 0.9) -> Detection:
    return Detection(label, 0, score, box)


def test_perfect_detections_have_a_precision_of_one(truth: Truth) -> None:
    """Perfect detections give 1 for every label of the truth; a label without a box does not count."""
    rows = [row for image_id in (1, 2)
            for row in truth.rows(image_id, 200, 100, [seen("cat", BOX), seen("dog", ELSEWHERE)])]
    found = average_precision(truth, rows)
    assert (found.ap, found.ap50) == pytest.approx((1, 1))
    assert found.labels == {"cat": LabelPrecision(found.labels["cat"].ap, found.labels["cat"].ap50, 2),
                            "dog": LabelPrecision(found.labels["dog"].ap, found.labels["dog"].ap50, 2)}
    assert [(each.ap, each.ap50) for each in found.labels.values()] == [pytest.approx((1, 1))] * 2


def test_a_missed_label_is_zero_and_an_unknown_one_is_left_out(truth: Truth) -> None:
    """If one of two labels is detected, and one that the truth does not have, the precision is a half."""
    rows = [row for image_id in (1, 2)
            for row in truth.rows(image_id, 200, 100, [seen("cat", BOX), seen("unicorn", ELSEWHERE)])]
    found = average_precision(truth, rows)
    assert found.ap50 == pytest.approx(0.5)
    assert (found.labels["cat"].ap, found.labels["dog"].ap) == pytest.approx((1, 0))


def test_no_detection_at_all_is_zero(truth: Truth) -> None:
    """A model that detects nothing has a precision of 0 and raises no error."""
    found = average_precision(truth, [])
    assert (found.ap, found.ap50, found.labels["cat"]) == (0, 0, LabelPrecision(0, 0, 2))


def test_a_folder_is_read_and_an_invalid_one_is_refused(tmp_path: Path) -> None:
    """COCO's annotations.json is read; the error names a missing, damaged or wrong file."""
    with pytest.raises(SourceMissing, match=r"annotations\.json"):
        Truth.of_folder(tmp_path)
    path = tmp_path / "annotations.json"
    for content in ("no json", "[]", '{"images": []}', '{"images": [], "annotations": [], "categories": [{}]}'):
        path.write_text(content)
        with pytest.raises(SourceInvalid, match="expected COCO annotations"):
            Truth.of_folder(tmp_path)
    path.write_text(json.dumps({"images": [{"id": 3, "file_name": "a.jpg"}], "annotations": [],
                                "categories": [{"id": 7, "name": "cat"}]}))
    assert Truth.of_folder(tmp_path).images == {3: "a.jpg"}
