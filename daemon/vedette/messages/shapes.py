"""The messages about what was seen and what the device is.

Invariants: those of the package.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.types import CameraState, ModelState, Source

Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
BoxArray = Annotated[list[Unit], Field(min_length=4, max_length=4)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
ReplyStatus = Literal["ok", "refused", "failed"]


class FramePayload(TypedDict):
    """The frame a result was made from."""

    seq: Count
    """Number of the frame in this run of the daemon; gaps are frames that were dropped."""
    width: Count
    """Pixels, as configured: rotated, before any crop for the model."""
    height: Count
    """Pixels."""
    captured_at: Timestamp
    """When the sensor saw it, as far as the source tells."""
    clock_synced: bool
    """Whether the device's clock was synchronized then; order by run and seq if not."""


class TimingPayload(TypedDict):
    """Where one frame's time went, in milliseconds."""

    wait: float
    """Handed over by the camera until taken by the detector."""
    prepare: float
    """Written into the model's input."""
    invoke: float
    """The interpreter alone."""
    decode: float
    """Output tensors to detections."""


class ModelRefPayload(TypedDict):
    """The model that made a result."""

    name: str
    version: str | None
    sha256: str
    """Of the whole file, in hexadecimal."""
    variant: str | None
    """Label of an A/B release."""


class DetectionPayload(TypedDict):
    """One object."""

    label: str
    class_id: int | None
    """Null where the source knows none (motion)."""
    score: Unit | None
    """0-1; null where the source knows none."""
    box: BoxArray
    """xmin, ymin, xmax, ymax in 0-1 of the frame, origin top left."""


class DetectionsPayload(TypedDict):
    """All detections of one frame. A frame that could not be looked at is never published as an empty result."""

    schema: Literal["vedette.detections/1"]
    device: str
    run: Count
    """One more at every start of the daemon. (device, run, seq) orders results and finds repeated ones."""
    seq: Count
    """Published results of this run, from 1."""
    source: Source
    """Who looked: the model on the device, the cloud, or motion alone."""
    frame: FramePayload
    age_ms: float
    """Capture until the result was ready."""
    timing_ms: TimingPayload
    model: ModelRefPayload | None
    dropped: dict[str, Count]
    """Frames dropped in this run, by cause."""
    backfilled: bool
    """Whether it waited on disk while the broker was away; those come in their order, behind newer ones."""
    detections: list[DetectionPayload]
    """Best score first."""


class CountsPayload(TypedDict):
    """How many of each label are in view; published on change."""

    schema: Literal["vedette.counts/1"]
    captured_at: Timestamp
    counts: dict[str, Count] | None
    """Null while the device is not looking, which is not the same as nothing seen."""


class CameraPayload(TypedDict):
    """What the camera is doing."""

    schema: Literal["vedette.camera/1"]
    state: CameraState
    since: Timestamp
    cause: str | None
    """In words; null while capturing."""
    source: str
    """As configured, without credentials."""


class VersionsInfo(TypedDict):
    """What software runs."""

    vedette: str
    python: str
    os: str


class HardwareInfo(TypedDict):
    """What it runs on."""

    board: str | None
    """As the device tree names it."""
    machine: str
    """As `uname -m` names it."""
    cores: Count


class CameraInfo(TypedDict):
    """What is watched; sizes are 0 until the first frame."""

    source: str
    """As configured, without credentials."""
    width: Count
    height: Count
    fps: float
    """As configured."""


class DetectorInfo(TypedDict):
    """What detects."""

    runtime: str
    runtime_version: str
    xnnpack_share: Unit
    """Share of the model's nodes that run on XNNPACK, measured."""
    threads: Count
    decoder: str
    input_width: Count
    input_height: Count
    labels: list[str]
    warnings: list[str]


class InfoPayload(TypedDict):
    """What this device is and speaks; at every connect."""

    schema: Literal["vedette.info/1"]
    device: str
    run: Count
    versions: VersionsInfo
    hardware: HardwareInfo
    camera: CameraInfo
    detector: DetectorInfo | None
    """Null where no model runs."""
    schemas: list[str]
    """Every schema id this device may send."""
    reason_codes: list[str]
    """Every reason code health may carry."""
    commands: list[str]
    """Commands it obeys over MQTT."""


class ModelPayload(TypedDict):
    """Which model runs; the keys fit Home Assistant's `update` entity."""

    schema: Literal["vedette.model/1"]
    state: ModelState
    """pinned: by `detector.model`; box: the model in the box; downloading, staged (on disk, being proven), shadow: a
    new model; else where the running one stands: trial, good."""
    title: str | None
    """The model's name; null where none runs."""
    installed_version: str | None
    latest_version: str | None
    """The newest for this device, as far as it knows."""
    release: Count | None
    """Number of the running release; null for a model that came by hand."""
    sha256: str | None
    """Of the file that runs."""
    variant: str | None
    """Label of an A/B release."""
    in_progress: bool
    update_percentage: Annotated[float, Field(ge=0, le=100)] | None
    """Of the download, or of the shadow."""
    last_outcome: str | None
    """How the last update ended, in words."""


class ShadowPayload(TypedDict):
    """What a new model, which is compared unseen, and the active one saw in the same frame."""

    schema: Literal["vedette.shadow/1"]
    device: str
    run: Count
    frame: FramePayload
    model: ModelRefPayload
    """The new one."""
    invoke_ms: float
    """The new one's, undisturbed."""
    detections: list[DetectionPayload]
    """The new one's."""
    active_invoke_ms: float
    active_detections: list[DetectionPayload]


class ReplyPayload(TypedDict):
    """The answer to a command."""

    schema: Literal["vedette.reply/1"]
    status: ReplyStatus
    """Done, not allowed or not understood, or tried without success."""
    data: dict[str, JsonValue] | None
    error: str | None
    """In words; null when ok."""
    transaction: str | None
    """As the command gave it."""
