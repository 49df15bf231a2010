"""The nouns that cross module boundaries: frames, boxes, detections, results, states.

Invariants: every value is frozen; boxes are normalized 0-1 with the origin top left; units are in the names;
`captured_ns` is CLOCK_MONOTONIC (one clock for all processes of a boot), `captured_at` is the same moment in UTC.
Nothing is imported here but the standard library: the capture child loads this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

Source = Literal["local", "cloud", "motion"]
CameraState = Literal["capturing", "stalled", "frozen", "offline"]
HealthState = Literal["ok", "degraded", "failed"]
ModelState = Literal["none", "pinned", "box", "downloading", "staged", "shadow", "trial", "good"]
"""The state of a new model (downloading, staged, shadow). Without a new one, the state of the running model."""
ReasonCode = Literal[
    "camera_offline", "camera_stalled", "camera_frozen", "camera_black", "camera_rate", "camera_slow",
    "camera_size", "camera_damaged", "decoding_costly", "no_model", "model_refused", "detector_failing",
    "detector_slow", "results_implausible",
    "fallback_cloud", "fallback_motion", "cloud_failing", "all_stale", "runtime_fallback", "paused",
    "update_unreachable", "update_refused", "update_failed", "configuration_failed", "store_failed", "mqtt_offline",
    "mqtt_refused", "mqtt_denied", "mqtt_limited", "duplicate_device", "outbox_dropping", "spool_failed",
    "clips_failed", "collect_failed", "clock_unsynced", "clock_stepped", "undervoltage", "throttled", "hot",
    "rate_lowered", "disk_low", "memory_low", "memory_pressure", "score_drift", "image_drift", "latency_drift",
    "worker_hung", "config_rejected", "restart_needed", "config_tried",
]
"""Why the device is not `ok`, and advice. The table in health.reasons has meaning, state and remedy of each."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Which device this is, which run of its daemon (one more at every start), and which boot of its machine."""

    device: str
    run: int
    boot_id: str


class Box(NamedTuple):
    """Corners of a box, each 0-1 of the frame, origin top left. It is a tuple, because NMS handles thousands."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class Scaling(NamedTuple):
    """A part of a frame (`right` and `bottom` are past it) and the size it is scaled to. All in pixels."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One image as configured (rotated, masked), before any crop for the model.

    `pixels` is C-contiguous uint8 of shape (height, width, 3), BGR. It is valid until `release(frame)` of the camera
    that gave the frame; keep a copy, not the frame. `scaled`, if present, is the part that `scaling` names, of shape
    (height, width, 3), RGB, and valid for the same time.
    """

    seq: int
    pixels: memoryview
    captured_ns: int
    captured_at: datetime
    handed_over_ns: int
    scaling: Scaling | None = None
    scaled: memoryview | None = None
    after_still: bool = False
    """Whether there were frames without motion since the last frame that the detector took."""
    film_ns: int | None = None
    """With `every_frame`: when this frame would be captured if the film played at its own rate. It never goes back."""

    @property
    def scene_s(self) -> float:
        """Seconds of the clock by which things move in the picture: that of `film_ns`, else of `captured_ns`."""
        return (self.captured_ns if self.film_ns is None else self.film_ns) / 1e9

    @property
    def height(self) -> int:
        """Rows of pixels."""
        assert self.pixels.shape is not None  # noqa: S101 - for the type checker: a frame always has a shape
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        assert self.pixels.shape is not None  # noqa: S101 - as above
        return self.pixels.shape[1]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object in one frame. `class_id` and `score` are None if the source has none (motion).

    `track` is the same number in all frames of a run that show this thing; None where it is not followed.
    """

    label: str
    class_id: int | None
    score: float | None
    box: Box
    track: int | None = None


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model made a result. `sha256` is of the whole file."""

    name: str
    version: str | None
    sha256: str
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each stage took for one frame. `wait_ms`: from the camera's hand-over until the detector took it."""

    wait_ms: float
    prepare_ms: float
    invoke_ms: float
    decode_ms: float
    track_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """All detections of one frame, best score first, with their source and time.

    `age_ms` is capture to result ready. The pixels of `frame` are no longer valid once it was released. `roi` is the
    part of the frame that was looked at: a reload may have changed it since, but the boxes are those of this part.
    """

    frame: Frame
    detections: tuple[Detection, ...]
    model: ModelRef | None
    source: Source
    timing: Timing
    age_ms: float
    roi: Box = WHOLE


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """Which model runs, and how: for health, `info`, `doctor` and `bench`.

    `xnnpack_share` is measured (graph nodes behind DELEGATE nodes over all original nodes), 0-1.
    `runtime_choice`: why this runtime; None where only one is installed, or the configuration names it.
    """

    model: ModelRef
    runtime: str
    runtime_version: str
    xnnpack_share: float
    threads: int
    decoder: str
    input_width: int
    input_height: int
    labels: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    runtime_choice: str | None = None


UpdateCode = Literal[
    "good", "activated", "rolled_back", "withdrawn",
    "damaged", "unsupported", "golden_frames", "latency", "labels", "refused", "died", "not_tried",
    "agreement", "slow", "no_evidence",
    "errors", "blind", "crashed", "not_opened", "lost", "not_counted",
    "invalid", "unhealthy", "unknown"]
"""How an update ended. The first four are no failures."""
ConfigurationState = Literal["none", "trial", "good"]


@dataclass(frozen=True, slots=True)
class LastUpdate:
    """How the last update ended. `release` is None for a model that was installed by hand, or that is not known."""

    release: int | None
    sha256: str
    ok: bool
    code: UpdateCode
    at: datetime


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a device says about the releases that it takes."""

    device_class: str
    channel: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigurationStatus:
    """The signed configuration of the device, and how the last one ended. It has none in the state `none`."""

    state: ConfigurationState = "none"
    release: int | None = None
    version: str | None = None
    sha256: str | None = None
    last_update: LastUpdate | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The state of the models: `model` runs, `latest_version` is the newest for this device.

    `percentage` is the progress of the download or the shadow. `last_outcome` is a message: how the last update ended.
    `receiver` and `configuration` are None without an update source.
    """

    state: ModelState
    model: ModelRef | None = None
    release: int | None = None
    latest_version: str | None = None
    in_progress: bool = False
    percentage: float | None = None
    last_outcome: str | None = None
    last_update: LastUpdate | None = None
    receiver: Receiver | None = None
    configuration: ConfigurationStatus | None = None


OUTLINE_BYTES = 2 * 32 * 18


@dataclass(frozen=True, slots=True)
class View:
    """The still parts of what the camera shows, measured once a second (see camera.child.view).

    `outline` is empty for a picture without anything to recognize.
    """

    detail: float     # of edges that last, in squared grey levels
    focus: float      # share of that detail that is fine
    outline: bytes    # edges across, then down, each one signed byte


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """The camera's status now. Counts are totals of this run of the daemon.

    captured == taken by the detector + sum(dropped) + pending, whenever nothing moves.
    """

    state: CameraState
    since: datetime
    cause: str | None
    source: str                       # as configured, credentials removed
    captured: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)   # replaced, busy, still
    pending: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    brightness: float | None = None   # mean luma, 0-255
    contrast: float | None = None     # standard deviation of luma
    view: View | None = None          # the last that was measured
    reopened: int = 0
    children_replaced: int = 0
    interruptions: int = 0            # times it stopped capturing, or froze


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message. `topic` is below `<base>/` unless it starts with `/` (then absolute, slash removed).

    `seq` is that of a result. `unsynced_ns`: its first time stamp was read from a clock that was not set; this is the
    same moment on the monotonic clock. `on_done` is called, on any thread, when the broker has accepted or refused it.
    Whoever gives a message with it keeps the message: the outbox neither drops nor saves it.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    seq: int | None = None
    unsynced_ns: int | None = None
    on_done: Callable[[], None] | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """What the message is about: the first level of its topic below the base."""
        return self.topic.split("/", 4)[3 if self.topic.startswith("/") else 0]


@dataclass(frozen=True, slots=True)
class Command:
    """A command over MQTT or the local socket, already checked: allowed, not retained, not repeated.

    `on_reply`, if set, is called on any thread in place of the broker: with the reply as JSON, and with the JPEG of a
    snapshot or nothing.
    """

    name: str
    arguments: Mapping[str, object]
    transaction: str | None
    reply_topic: str                  # absolute
    on_reply: Callable[[bytes, bytes], None] | None = field(default=None, compare=False, repr=False)


class Acknowledged(NamedTuple):
    """The newest result of a run that the broker has acknowledged."""

    run: int
    seq: int


EndKind = Literal["stopped", "failed", "hung", "killed", "power_cut"]


class LastEnd(NamedTuple):
    """How the run before this one ended; `detail` is a message."""

    run: int
    kind: EndKind
    detail: str


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The status of the MQTT connection now. Counts are totals of this run."""

    connected: bool
    cause: str | None                 # why not connected, as a message
    reconnects: int = 0
    outbox_depth: int = 0
    outbox_dropped: int = 0
    refused: int = 0                  # by the broker's access rules
    published: int = 0
    spooled: int = 0                  # messages on disk
    spool_bytes: int = 0
    dropped_ever: Mapping[str, int] = field(default_factory=dict)   # kind of topic -> number, earlier runs too
    acknowledged_before: Acknowledged | None = None                 # by earlier runs
