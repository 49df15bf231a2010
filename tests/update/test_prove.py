"""The probe as an update makes it: the candidate's measurements are checked against this device's configuration."""

from pathlib import Path

import pytest

from vedette.config.models import Config, DetectorConfig, UpdateConfig
from vedette.errors import ModelTooSlow
from vedette.tflite.file import read_model
from vedette.update.prove import Candidates

BOX = Path(__file__).parents[2] / "models" / "vedette-street.tflite"


def test_a_slow_model_is_refused() -> None:
    """The measured time of an undisturbed invoke is compared with `update.latency_budget_ms`."""
    config = Config(detector=DetectorConfig(threads=1), update=UpdateConfig(latency_budget_ms=0.001))
    candidates = Candidates(config)
    with candidates.open(BOX, read_model(BOX).sha256) as candidate, pytest.raises(
            ModelTooSlow, match=r"takes [\d.]+ ms for a frame; expected at most 0.001"):
        candidates.probe(candidate)
    assert candidate.pid is None
