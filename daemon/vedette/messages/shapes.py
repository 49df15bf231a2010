"""The messages about what a device detects, and about the device itself.

Invariants: those of the package.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field, JsonValue
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.types import CameraState, ConfigurationState, ModelState, Source, UpdateCode

Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
BoxArray = Annotated[list[Unit], Field(min_length=4, max_length=4)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
ReplyStatus = Literal["ok", "refused", "failed"]


class FramePayload(TypedDict):
    """The frame that a result belongs to."""

    seq: Count
    """Number of the frame in this run of the daemon. Missing numbers are dropped frames."""
    width: Count
    """Pixels of the whole frame, after the rotation. It may be smaller than configured, because a smaller picture is
    never scaled up."""
    height: Count
    """Pixels, as for `width`."""
    captured_at: Timestamp
    """Time at which the sensor captured the frame, if the source reports that. Else the time at which it arrived."""
    clock_synced: bool
    """Whether the device's clock was synchronized at that time. If not, order results by `run` and `seq`."""


class TimingPayload(TypedDict):
    """The time that each stage took for one frame, in milliseconds."""

    wait: float
    """Time for which the frame waited for the detector."""
    prepare: float
    """Time for writing the frame into the model's input."""
    invoke: float
    """Time of the interpreter alone."""
    decode: float
    """Time for making detections from the model's output."""
    track: float
    """Time for following things from the result before."""


class ModelRefPayload(TypedDict):
    """The model that made a result."""

    name: str
    version: str | None
    sha256: str
    """Digest of the whole file, in hexadecimal."""
    variant: str | None
    """Variant of an A/B release."""


class DetectionPayload(TypedDict):
    """One detected object."""

    label: str
    class_id: int | None
    """Null if `source` is `motion`, which has no classes."""
    score: Unit | None
    """0-1. Null if the source has no scores."""
    box: BoxArray
    """xmin, ymin, xmax, ymax in 0-1 of the frame. The origin is top left."""
    track: NotRequired[int | None]
    """Only in `detections`: the number of the thing's track, the same in all results of this run that show this thing.
    Null if it was detected too few times so far, and in results that are not from the device's own model. Null too if
    another detection shows the same thing under another label."""


class DetectionsPayload(TypedDict):
    """All detections of one frame. A frame on which detection failed is never published as an empty result."""

    schema: Literal["vedette.detections/1"]
    device: str
    run: Count
    """Number of the daemon's run. Each start adds 1. Order results and find repeats by (device, run, seq)."""
    seq: Count
    """Number of the published result in this run, from 1."""
    source: Source
    """What made the result: the model on the device, the cloud, or only the motion detector."""
    frame: FramePayload
    age_ms: float
    """Milliseconds from capture until the result was ready."""
    timing_ms: TimingPayload
    model: ModelRefPayload | None
    dropped: dict[str, Count]
    """Dropped frames of this run, by cause."""
    backfilled: bool
    """Whether the result waited on disk while the broker was away. Such results come in order, but may come after
    newer results."""
    detections: list[DetectionPayload]
    """The best score comes first."""


class CountsPayload(TypedDict):
    """How many objects of each label are in view. Published on change."""

    schema: Literal["vedette.counts/1"]
    captured_at: Timestamp
    counts: dict[str, Count] | None
    """The count of each label. Null while the device does not detect. An empty object means that nothing is in view."""


class CameraPayload(TypedDict):
    """What the camera does."""

    schema: Literal["vedette.camera/1"]
    state: CameraState
    since: Timestamp
    cause: str | None
    """Text for a technician. Null while the state is `capturing`."""
    source: str
    """The source as configured, without credentials."""


class VersionsInfo(TypedDict):
    """The versions of the software."""

    vedette: str
    python: str
    os: str


class HardwareInfo(TypedDict):
    """The computer that the daemon runs on."""

    board: str | None
    """Name of the board in the device tree."""
    machine: str
    """Kind of processor, as `uname -m` prints it."""
    cores: Count


class CameraInfo(TypedDict):
    """The camera. Sizes are 0 until the first frame."""

    source: str
    """The source as configured, without credentials."""
    width: Count
    height: Count
    fps: float
    """The rate as configured."""


class DetectorInfo(TypedDict):
    """The detector."""

    runtime: str
    runtime_version: str
    runtime_choice: str | None
    """Why this runtime. Null where only one is installed, or the configuration names it."""
    xnnpack_share: Unit
    """Share of the model's operations that run on XNNPACK (fast code), as measured."""
    threads: Count
    decoder: str
    input_width: Count
    input_height: Count
    labels: list[str]
    warnings: list[str]


class InfoPayload(TypedDict):
    """What this device is, and which messages it uses. Published at every connect."""

    schema: Literal["vedette.info/1"]
    device: str
    run: Count
    versions: VersionsInfo
    hardware: HardwareInfo
    camera: CameraInfo
    detector: DetectorInfo | None
    """Null if no model runs."""
    schemas: list[str]
    """Every schema id that this device may send."""
    reason_codes: list[str]
    """Every reason code that health may have."""
    commands: list[str]
    """The commands that the device obeys over MQTT."""
    config: dict[str, JsonValue]
    """The effective value of each key that a signed configuration may set, nested as in `config.yaml`."""
    places: dict[str, str]
    """Where the value of a key came from, by its dotted name: `signed configuration 7`, the file and line, a variable
    or `command line`. `tried` is until the next reload. `model` is a threshold of the model. Any other key has its
    default."""


class LastUpdatePayload(TypedDict):
    """How the last update ended, for programs."""

    release: Count | None
    """Null for a model that was installed by hand."""
    sha256: str
    """Digest of the file that was tried."""
    ok: bool
    """Whether it ended without a failure."""
    code: UpdateCode
    """What happened. docs/updates.md explains each code."""
    at: Timestamp


class ReceiverPayload(TypedDict):
    """Which releases the device takes, as its configuration says."""

    device_class: str
    channel: str
    tags: list[str]


class ConfigurationPayload(TypedDict):
    """The signed configuration of the device."""

    state: ConfigurationState
    """`none`: the device has none. Otherwise its configuration is on `trial` or `good`."""
    release: Count | None
    version: str | None
    sha256: str | None
    last_update: LastUpdatePayload | None
    """How the last one ended, as for a model."""


class ModelPayload(TypedDict):
    """Which model runs. For Home Assistant's `update` entity, a template must leave out nulls and other keys."""

    schema: Literal["vedette.model/1"]
    state: ModelState
    """`none`: no model runs. `pinned`: `detector.model` names the model. `box`: the model in the box runs. A new model
    is `downloading`, `staged` (on disk, in the probe) or in `shadow`. Otherwise the running model is on `trial` or
    `good`. docs/updates.md explains these states."""
    title: str | None
    """The name of the running model. Null if no model runs."""
    installed_version: str | None
    latest_version: str | None
    """The newest version for this device that the device knows."""
    release: Count | None
    """Number of the running release. Null for a model that was installed by hand."""
    sha256: str | None
    """Digest of the file that runs."""
    variant: str | None
    """Variant of an A/B release."""
    in_progress: bool
    """Whether an update is in progress."""
    update_percentage: Annotated[float, Field(ge=0, le=100)] | None
    """Progress of the download or of the shadow."""
    last_outcome: str | None
    """Text: how the last update ended."""
    last_update: LastUpdatePayload | None
    """The same for programs. While the newest release for this device is one that it refused, this is about that
    release. Null before the first update."""
    receiver: ReceiverPayload | None
    """Null without an update source."""
    configuration: ConfigurationPayload | None
    """Null without an update source."""


class ShadowPayload(TypedDict):
    """What a new model in shadow and the active model detect in the same frame."""

    schema: Literal["vedette.shadow/1"]
    device: str
    run: Count
    frame: FramePayload
    model: ModelRefPayload
    """The new model."""
    invoke_ms: float
    """Time of the interpreter with the new model, measured while nothing else disturbed it."""
    detections: list[DetectionPayload]
    """Detections of the new model."""
    active_invoke_ms: float
    """Time of the interpreter with the active model."""
    active_detections: list[DetectionPayload]
    """Detections of the active model."""


class ReplyPayload(TypedDict):
    """The answer to a command."""

    schema: Literal["vedette.reply/1"]
    status: ReplyStatus
    """`ok`: the command is done. `refused`: it is not allowed or not understood. `failed`: it was tried, without
    success."""
    data: dict[str, JsonValue] | None
    error: str | None
    """Text for a technician. Null when ok."""
    transaction: str | None
    """The command's own `transaction`."""
