"""The message about the device's health.

Invariants: those of the package; every value except `scores` has a fixed size, and the labels of `scores` are bounded.
"""

from __future__ import annotations

from typing import Annotated, Literal

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
    """Text for the technician at the device."""


class Percentiles(TypedDict):
    """Milliseconds, over the last few hundred frames."""

    p50: float
    p95: float
    p99: float


class StagePercentiles(TypedDict):
    """The stages of `timing_ms` in a result. Null before the first result."""

    wait: Percentiles | None
    prepare: Percentiles | None
    invoke: Percentiles | None
    decode: Percentiles | None


class CaptureHealth(TypedDict):
    """Counts of frames: captured = detected + dropped + pending."""

    state: CameraState
    fps: float
    """Frames captured per second in the last seconds."""
    captured: Count
    detected: Count
    """Frames that the model or the motion detector has processed. The cloud gets copies, which do not count here."""
    dropped: dict[str, Count]
    """By cause: `replaced` by a newer frame, `busy` (no memory free), `stale`, `failed`, `paused`, `no_model`. Also
    `slow` (the cloud was faster) and `governed` (see `governor`)."""
    pending: Count
    age_ms: Percentiles | None
    """Milliseconds from capture until the result was ready."""
    reopened: Count
    """How often the source was opened again."""
    children_replaced: Count
    """How often the capture process was replaced."""


class InferenceHealth(TypedDict):
    """The interpreter. Its facts are null where no model runs."""

    count: Count
    errors: Count
    timing_ms: StagePercentiles
    runtime: str | None
    runtime_version: str | None
    xnnpack_share: Unit | None
    """Measured share of the model's nodes that run on XNNPACK."""
    threads: Count | None


class ScoreHealth(TypedDict):
    """Distribution of one label's scores from the running model."""

    count: Count
    mean: Unit
    histogram: Annotated[list[Count], Field(min_length=10, max_length=10)]
    """Ten equal bins from 0 to 1."""


class ImageHealth(TypedDict):
    """The image. Values are null before the first frame."""

    brightness: float | None
    """Mean luma, 0-255."""
    contrast: float | None
    """Standard deviation of luma."""


class LabelDrift(TypedDict):
    """The scores of one label, over seven days of watching."""

    mean: Unit | None
    """Null: no scores in seven days."""
    baseline: Unit | None
    """The mean to compare with, learnt or from the bundle (`health.baseline`). Null: not known, or not known yet."""
    count: Count


class LatencyDrift(TypedDict):
    """The time of the interpreter alone, in milliseconds."""

    mean_ms: float | None
    """Mean of each minute's median, over seven days."""
    baseline_ms: float | None
    """Null: still learning."""


class ImageDrift(TypedDict):
    """The camera's view, compared with earlier views."""

    changes: list[Literal["covered", "moved", "out of focus", "dark", "flat"]]
    likeness: float | None
    """Likeness of the present view to the most similar known view, up to 1. Null while no view is known."""
    focus: float | None
    """Share of fine detail in the image's detail."""
    references: Count
    """Number of known views: by day, by night, ..."""
    learning_hours: float | None
    """Hours left in which a new view that lasts is also learnt. Null: that time is over."""


class FeedbackHealth(TypedDict):
    """The feedback on results by `cmd/feedback`, over seven days, at most 500 results."""

    count: Count
    wrong: Count
    error_rate: Unit | None
    """Null without feedback."""


class DriftHealth(TypedDict):
    """Slow degradation that causes no error. Time while the device is off does not count."""

    learning_hours: float | None
    """Hours left to learn the running model's latency, and the scores of labels that occur from its start on. Null:
    that time is over, or no model has run."""
    labels: dict[str, LabelDrift]
    """Of the running model: 16 labels. The others are together in `other`, which has no baseline."""
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
    """Dropped: the oldest of a full outbox, those too old on disk, and those that cannot wait for a connection."""
    dropped_ever: dict[str, Count]
    """The same in all runs of this state folder, by the topic's first level (detections, reply, ...)."""
    spooled: Count
    """Messages on disk. They are published with `backfilled` true."""
    spool_mb: float
    """Their size on disk, in 10^6 bytes."""
    acknowledged_before: AcknowledgedResult | None
    """The newest result of earlier runs that the broker acknowledged, noted every 15 s and at an ordered stop. Later
    results of those runs come backfilled, or were lost with the process or the power: at most 5 s of results."""
    refused: Count
    """Messages refused by the broker's access rules."""
    published: Count


class CloudLeft(TypedDict):
    """What an allowance still grants."""

    calls: Count
    mb: float
    """10^6 bytes."""


class CloudHealth(TypedDict):
    """The cloud. Counts are of this run: calls = results + late + failed + the call under way."""

    breaker: Literal["closed", "open", "half_open"]
    """`closed`: calls are allowed. `open`: the server fails, so there are none. `half_open`: one probe is allowed."""
    calls: Count
    """Includes calls that ended before anything was sent. There are no calls while the budget is spent."""
    results: Count
    late: Count
    """Answers that came too late to be used."""
    failed: Count
    sent_mb: float
    """Size of the requests' bodies, in 10^6 bytes."""
    cause: str | None
    """Text: why the last call gave no result."""
    left: dict[str, CloudLeft]
    """What is left of the budget, for this `hour` and this `day`."""


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
    """The same at any time since the daemon's start, and what the firmware still remembers."""
    cpu_mhz: float | None
    cpu_highest_mhz: float | None
    """The highest frequency that the processor is made for."""
    cpu_slowed: bool | None
    """Whether the kernel allows a lower frequency than before."""
    rss_mb: float | None
    """The daemon's resident memory."""
    capture_rss_mb: float | None
    """The capture process's resident memory."""
    memory_available_mb: float | None
    memory_allowed_mb: float | None
    """Memory left of the unit's own limit."""
    memory_stalled: Unit | None
    """Share of the last seconds during which a process waited for memory."""
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
    """How the run before this one ended."""

    run: Count
    kind: EndKind
    """`stopped`: on request. `failed`: by itself, with an error. `hung`: a thread made no progress, so the watchdog
    ended the run. `killed`: without a report, by a signal, for lack of memory, or by a crash in native code.
    `power_cut`: the machine restarted during the run."""
    detail: str
    """Text: what requested the stop, the error, or the threads that hung."""


class GovernorHealth(TypedDict):
    """How far the detection rate is lowered to protect the board."""

    step: Count
    """0: not lowered."""
    share: Unit
    """Share of the full rate."""
    limit_per_s: float | None
    """Average frames a second. Null: no limit."""
    why: str | None
    """Text: what lowered the rate."""
    since: Timestamp | None
    """Time of the last change of step."""


class HealthPayload(TypedDict):
    """The device's health. Published on every change of state or reasons, and every `health.interval_s`."""

    schema: Literal["vedette.health/1"]
    device: str
    run: Count
    at: Timestamp
    uptime_s: float
    last_end: LastEndPayload | None
    """Null: there was no run before, or no record of it."""
    state: HealthState
    reasons: list[ReasonPayload]
    capture: CaptureHealth
    inference: InferenceHealth
    fallback: FallbackHealth
    scores: dict[str, ScoreHealth]
    """By label. Rare labels beyond a limit are together in `other`."""
    image: ImageHealth
    drift: DriftHealth
    mqtt: MqttHealth
    board: BoardHealth
    governor: GovernorHealth
