"""`camera.controls` and `camera.focus`: what a camera itself must check later."""

from typing import Any

import pytest
from pydantic import ValidationError

from vedette.camera.open import capture_settings
from vedette.camera.settings import CaptureSettings
from vedette.config.models import CameraConfig


@pytest.mark.parametrize("value", [True, 3, -1.5, "Daylight", (1.5, 2.0), ((0, 0, 64, 64),)])
def test_a_control_reaches_the_child_as_it_is(value: Any) -> None:
    """A control crosses the socket with its type, and so does the focus. JSON makes a list of a tuple."""
    config = CameraConfig.model_validate({"source": "picamera2:1", "focus": 2, "controls": {"Name": value}})
    settings = CaptureSettings.from_json(capture_settings(config).to_json())
    read = settings.controls["Name"]
    assert (settings.kind, settings.focus, type(settings.focus)) == ("picamera2", 2.0, float)
    assert read == (value if not isinstance(value, tuple) else [list(part) if isinstance(part, tuple) else part
                                                                for part in value])
    assert isinstance(value, tuple) or type(read) is type(value)


@pytest.mark.parametrize("value", [None, {"x": 1}, ["Daylight"], [None]])
def test_what_no_control_can_be_is_refused(value: object) -> None:
    """One message for each control, with what was expected."""
    with pytest.raises(ValidationError, match="expected a number, true, false, a name or a list of numbers") as refusal:
        CameraConfig.model_validate({"controls": {"Name": value}})
    assert refusal.value.error_count() == 1
