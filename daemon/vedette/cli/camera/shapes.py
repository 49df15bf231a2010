"""What `vedette camera list --json` prints. docs/schemas/cameras-1.json is written from these models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """Base of every shape."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, serialize_by_alias=True)


class CameraMode(Shape):
    """One format and size of a camera."""

    format: str
    """V4L2: the format that the camera sends, such as MJPG. picamera2: the raw format of the sensor."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    fps: list[float]
    """Frames per second, highest first. picamera2: the highest rate of the sensor. Empty: the camera does not say."""
    crop: list[int] | None
    """picamera2: what the mode sees of the sensor: x, y, width and height in the sensor's pixels. V4L2: null."""


class ListedCamera(Shape):
    """One camera that can be a source."""

    driver: Literal["picamera2", "v4l2"]
    """What opens the camera."""
    name: str
    """The model, as the driver says it."""
    place: str
    """Where the camera is connected, as the driver says it. Empty: unknown."""
    source: str
    """The value for `camera.source`. It names the same camera after a restart."""
    config: str
    """A line for the configuration file."""
    modes: list[CameraMode]
    """Formats, sizes and rates. Empty where there is a problem."""
    problem: str | None
    """Why the modes are not known, or why there is no snapshot. Null: there is no problem."""
    snapshot: str | None
    """The file with a frame of the camera. Null: none was asked for, or the camera gave none."""


class CameraList(Shape):
    """The cameras of this machine, in the order in which `camera.source: auto` would try them."""

    schema_id: Literal["vedette.cameras/1"] = Field(default="vedette.cameras/1", alias="schema")
    """Name and version of this schema."""
    cameras: list[ListedCamera]
    """Those that can be a source. Network cameras are never listed."""
    picamera2: str | None
    """The version of picamera2, or why it cannot be used. Null: the version is unknown."""
