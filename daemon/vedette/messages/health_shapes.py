"""The message about the device's health.

Invariants: those of the package; every value except `scores` has a fixed size, and the labels of `scores` are bounded.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.messages.shapes import Count, Timestamp, Unit
from vedette.types import CameraState, EndKind, HealthState


class ReasonPayload(TypedDict):
    """One thing that is wrong."""

    code: str
    """A code from docs/reasons.md."""
    since: Timestamp
    detail: str | None
    """Text for the technician at the device: the cause."""


class Percentiles(TypedDict):
    """Milliseconds, over the newest few hundred frames. `p95`: 95 % of the values are at most this."""

    p50: float
    p95: float
    p99: float


class StagePercentiles(TypedDict):
    """The stages of `timing_ms` in a result. Null before the first result."""

    wait: Percentiles | None
    prepare: Percentiles | None
    invoke: Percentiles | None
    decode: Percentiles | None
    track: Percentiles | None


class CaptureHealth(TypedDict):
    """Counts of frames in this run. Always: captured = detected + dropped + pending."""

    state: CameraState
    fps: float
    """Frames captured per second during the last few seconds."""
    captured: Count
    detected: Count
    """Frames with a result of the model or of the motion detector. The cloud gets copies, which do not count here."""
    dropped: dict[str, Count]
    """By cause. `replaced`: by a newer frame. `busy`: no memory was free. `stale`: too old. `failed`: detection failed.
    `paused`: by a command. `no_model`: no model runs. `slow`: the cloud was faster. `governed`: see `governor`.
    `still`: the motion gate saw no motion."""
    pending: Count
    """Frames that wait for the detector or are in it."""
    age_ms: Percentiles | None
    """Milliseconds from capture until the result was ready."""
    reopened: Count
    """How often the source was opened again."""
    children_replaced: Count
    """How often the capture process was replaced."""


class InferenceHealth(TypedDict):
    """The interpreter of the model. The keys that may be null are null if no model runs."""

    count: Count
    """Frames for which the model gave a result."""
    errors: Count
    """Frames in which the model failed."""
    timing_ms: StagePercentiles
    runtime: str | None
    runtime_version: str | None
    xnnpack_share: Unit | None
    """Share of the model's operations that run on XNNPACK (fast code), as measured."""
    threads: Count | None


class ScoreHealth(TypedDict):
    """Scores of one label from the running model."""

    count: Count
    mean: Unit
    histogram: Annotated[list[Count], Field(min_length=10, max_length=10)]
    """Counts of scores in ten equal ranges from 0 to 1."""


class ImageHealth(TypedDict):
    """The image. Values are null before the first frame."""

    brightness: float | None
    """Mean brightness (luma) of the pixels, 0-255."""
    contrast: float | None
    """Standard deviation of the brightness."""


class LabelDrift(TypedDict):
    """The scores of one label, over seven days of watching."""

    mean: Unit | None
    """Null: no scores in seven days."""
    baseline: Unit | None
    """The mean that `mean` is compared with: learnt, or from the bundle (`health.baseline`). Null: not known (yet)."""
    count: Count


class LatencyDrift(TypedDict):
    """The time of the interpreter alone, in milliseconds."""

    mean_ms: float | None
    """Mean over seven days of the median of each minute."""
    baseline_ms: float | None
    """The learnt time. Null: the device is still learning."""


class ImageDrift(TypedDict):
    """The camera's view, compared with earlier views."""

    changes: list[Literal["covered", "moved", "out of focus", "dark", "flat"]]
    """What is wrong with the view."""
    likeness: float | None
    """How similar the present view is to the most similar known view; 1: the same. Null while no view is known."""
    focus: float | None
    """Share of fine detail in all detail of the image."""
    references: Count
    """Number of known views, for example by day and by night."""
    learning_hours: float | None
    """Hours left in which the device also learns a new view that lasts. Null: that time is over."""


class FeedbackHealth(TypedDict):
    """The feedback that the command `feedback` gave on results, over seven days, for at most 500 results."""

    count: Count
    """Results with feedback."""
    wrong: Count
    """Those of them that were wrong."""
    error_rate: Unit | None
    """The share of wrong results. Null without feedback."""


class DriftHealth(TypedDict):
    """Slow degradation that causes no error. Time while the device is off does not count."""

    learning_hours: float | None
    """Hours left to learn the latency of the running model, and the scores of labels that occur from its start on.
    Null: that time is over, or no model has run."""
    labels: dict[str, LabelDrift]
    """The 16 most frequent labels of the running model. The others are together in `other`, which has no baseline."""
    latency: LatencyDrift
    image: ImageDrift
    feedback: FeedbackHealth


class AcknowledgedResult(TypedDict):
    """A result that the broker has acknowledged."""

    run: Count
    seq: Count


class MqttHealth(TypedDict):
    """The connection to the broker. Counts are of this run."""

    connected: bool
    reconnects: Count
    outbox_depth: Count
    """Messages in memory."""
    outbox_dropped: Count
    """Dropped messages: the oldest ones of a full outbox, too old ones on disk, and those that must not wait."""
    dropped_ever: dict[str, Count]
    """The same count over all runs with this state folder, by the topic's first level (detections, reply, ...)."""
    spooled: Count
    """Messages on disk. They are published with `backfilled` true."""
    spool_mb: float
    """Size of the messages on disk, in 10^6 bytes."""
    acknowledged_before: AcknowledgedResult | None
    """The newest result of earlier runs that the broker acknowledged. The device stores it every 15 s and at a normal
    stop. Later results of those runs are published from disk (`backfilled`). If the process or the power failed, at
    most 5 s of results are lost."""
    refused: Count
    """Messages that the broker refused because of its access rules."""
    published: Count
    """Messages that the broker acknowledged."""


class CloudLeft(TypedDict):
    """What is left of one budget."""

    calls: Count
    mb: float
    """10^6 bytes."""


class CloudHealth(TypedDict):
    """The cloud. Counts are of this run: calls = results + late + failed + the present call."""

    breaker: Literal["closed", "open", "half_open"]
    """`closed`: calls are allowed. `open`: the server fails, so no calls are made. `half_open`: one call tests the
    server."""
    calls: Count
    """This includes calls that ended before anything was sent. There are no calls while the budget is used up."""
    results: Count
    late: Count
    """Answers that came too late to be used."""
    failed: Count
    sent_mb: float
    """Size of the requests' bodies, in 10^6 bytes."""
    cause: str | None
    """Text: why the last call gave no result."""
    left: dict[str, CloudLeft]
    """What is left of the budgets of this `hour` and this `day`."""


class FallbackHealth(TypedDict):
    """What detects while the device's own model cannot."""

    looking: Literal["cloud", "motion"] | None
    """Null: no fallback gives results now."""
    cloud: CloudHealth | None
    """Null: not enabled."""
    motion_results: Count | None
    """Null: not enabled."""


class BoardHealth(TypedDict):
    """The computer. A value is null where the computer does not report it."""

    temperature_c: float | None
    throttled_now: list[str] | None
    """Any of under_voltage, frequency_capped, throttled, soft_temperature_limit."""
    throttled_ever: list[str] | None
    """The same, for the whole time since the daemon's start, and for what the firmware remembers from before."""
    cpu_mhz: float | None
    cpu_highest_mhz: float | None
    """The highest frequency that the processor is made for."""
    cpu_slowed: bool | None
    """Whether the highest frequency that the kernel allows is lower than before."""
    rss_mb: float | None
    """The daemon's resident memory."""
    capture_rss_mb: float | None
    """The capture process's resident memory."""
    memory_available_mb: float | None
    memory_allowed_mb: float | None
    """Memory that is left until the unit reaches its own limit."""
    memory_stalled: Unit | None
    """Share of the last few seconds in which a process waited for memory."""
    memory_pressed: bool | None
    """Whether that share is too large: the reason `memory_pressure`."""
    cma_free_mb: float | None
    """Free contiguous memory, which cameras need."""
    disk_free_mb: float | None
    """Free space on the disk of the state folder."""
    disk_mb: float | None
    """Size of that disk."""
    clock_synced: bool | None


class LastEndPayload(TypedDict):
    """How the previous run ended."""

    run: Count
    kind: EndKind
    """`stopped`: it ended on request. `failed`: it ended with an error. `hung`: a thread made no progress, so the
    watchdog ended the run. `killed`: it ended without a report: by a signal, for lack of memory, or by a crash in
    native code. `power_cut`: the machine restarted during the run."""
    detail: str
    """Text: who requested the stop, the error, or the threads that hung. After an end by a signal, what systemd saw:
    `watchdog, SIGABRT` is its watchdog. With `signal` or `core-dump`, native code or another process did it."""


class GovernorHealth(TypedDict):
    """How far the detection rate is lowered to protect the board."""

    step: Count
    """Number of the step. 0: the rate is not lowered."""
    share: Unit
    """Share of the full rate."""
    limit_per_s: float | None
    """Highest number of frames per second, on average. Null: no limit."""
    why: str | None
    """Text: what lowered the rate."""
    since: Timestamp | None
    """Time when the step changed last."""


class CollectHealth(TypedDict):
    """The pictures of the camera that the device collects for the workshop. They stay on the device."""

    state: Literal["off", "collecting", "stopped", "complete"]
    """`off`: the configuration does not allow it, and older pictures are still there. `stopped`: by a command.
    `complete`: its hours are over."""
    pictures: Count
    mb: float
    """Size of the pictures, in 10^6 bytes."""
    hours_left: float | None
    """Hours of detection that are left. Null: the collection is off or complete."""
    missed: Count
    """Frames of this run that were not considered, because the disk or the processor was too slow."""


class HealthPayload(TypedDict):
    """The device's health. Published on every change of state or reasons, and every `health.interval_s`.

    If it is too large for the broker, it comes without scores, image, drift, board and governor.
    """

    schema: Literal["vedette.health/1"]
    device: str
    run: Count
    at: Timestamp
    uptime_s: float
    last_end: LastEndPayload | None
    """Null: there was no previous run, or there is no record of it."""
    state: HealthState
    reasons: list[ReasonPayload]
    capture: CaptureHealth
    inference: InferenceHealth
    fallback: FallbackHealth
    scores: NotRequired[dict[str, ScoreHealth]]
    """By label. If there are too many labels, the rare ones are together in `other`."""
    image: NotRequired[ImageHealth]
    drift: NotRequired[DriftHealth]
    collect: CollectHealth | None
    """Null: it is off, and there are no pictures."""
    mqtt: MqttHealth
    board: NotRequired[BoardHealth]
    governor: NotRequired[GovernorHealth]
