"""The message that tells how the device is.

Invariants: those of the package; every value has a fixed size but `scores`, whose labels are bounded.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12

from vedette.messages.shapes import Count, Timestamp, Unit
from vedette.types import CameraState, EndKind, HealthState


class ReasonPayload(TypedDict):
    """One thing that is not as it should be."""

    code: str
    """From the table in docs/reasons.md."""
    since: Timestamp
    detail: str | None
    """In words, for the technician at the device."""


class Percentiles(TypedDict):
    """Milliseconds, over the last few hundred frames."""

    p50: float
    p95: float
    p99: float


class StagePercentiles(TypedDict):
    """The stages of `timing_ms` in a result; null before the first one."""

    wait: Percentiles | None
    prepare: Percentiles | None
    invoke: Percentiles | None
    decode: Percentiles | None


class CaptureHealth(TypedDict):
    """Frames: captured = detected + dropped + pending."""

    state: CameraState
    fps: float
    """Frames captured per second, lately."""
    captured: Count
    detected: Count
    """Looked at by the model or for motion. What the cloud looks at are copies."""
    dropped: dict[str, Count]
    """By cause: replaced by a newer one, busy (no memory free), stale, failed, slow (the cloud was faster), paused,
    no_model, governed (see `governor`)."""
    pending: Count
    age_ms: Percentiles | None
    """Capture until the result was ready."""
    reopened: Count
    """Times the source was opened again."""
    children_replaced: Count
    """Times the capture process was replaced."""


class InferenceHealth(TypedDict):
    """The interpreter; null where no model runs."""

    count: Count
    errors: Count
    timing_ms: StagePercentiles
    runtime: str | None
    runtime_version: str | None
    xnnpack_share: Unit | None
    """Share of the model's nodes that run on XNNPACK, measured."""
    threads: Count | None


class ScoreHealth(TypedDict):
    """Distribution of one label's scores, of the model that runs now."""

    count: Count
    mean: Unit
    histogram: Annotated[list[Count], Field(min_length=10, max_length=10)]
    """Ten equal bins from 0 to 1."""


class ImageHealth(TypedDict):
    """The picture; null before the first frame."""

    brightness: float | None
    """Mean luma, 0-255."""
    contrast: float | None
    """Standard deviation of luma."""


class LabelDrift(TypedDict):
    """The scores of one label, over seven days of watching."""

    mean: Unit | None
    """Null: none in seven days."""
    baseline: Unit | None
    """What they were, learnt or of the bundle (`health.baseline`); null: not known (yet)."""
    count: Count


class LatencyDrift(TypedDict):
    """The interpreter alone, milliseconds."""

    mean_ms: float | None
    """Over seven days, of each minute's median."""
    baseline_ms: float | None
    """Null: being learnt."""


class ImageDrift(TypedDict):
    """The camera's view against what it was."""

    changes: list[Literal["covered", "moved", "out of focus", "dark", "flat"]]
    likeness: float | None
    """Of the view now to the most alike one that is known, up to 1; null while none is known."""
    focus: float | None
    """Share of its detail that is fine."""
    references: Count
    """Views that are known: by day, by night, ..."""
    learning_hours: float | None
    """Left, in which a new view that holds is learnt as well; null: over."""


class FeedbackHealth(TypedDict):
    """What `cmd/feedback` said of results, over seven days and at most 500 of them."""

    count: Count
    wrong: Count
    error_rate: Unit | None
    """Null without any."""


class DriftHealth(TypedDict):
    """What degrades silently. Time off does not count."""

    learning_hours: float | None
    """Left until the running model's latency, and the scores of labels seen from its start on, are learnt; null: over,
    or no model has run."""
    labels: dict[str, LabelDrift]
    """Of the running model: 16 labels, the others together as `other`, which has no baseline."""
    latency: LatencyDrift
    image: ImageDrift
    feedback: FeedbackHealth


class AcknowledgedResult(TypedDict):
    """A result that the broker has."""

    run: Count
    seq: Count


class MqttHealth(TypedDict):
    """The connection to the broker. Counts are of this run."""

    connected: bool
    reconnects: Count
    outbox_depth: Count
    """Messages in memory."""
    outbox_dropped: Count
    """Oldest ones, when it was full (on disk: or too old), and those that need a connection and had none."""
    dropped_ever: dict[str, Count]
    """The same, by the topic's first level (detections, reply, ...), in all runs of this state folder."""
    spooled: Count
    """Messages on disk; they come marked as `backfilled`."""
    spool_mb: float
    """What they take there, in 10^6 bytes."""
    acknowledged_before: AcknowledgedResult | None
    """The newest result of earlier runs that the broker acknowledged, as noted every 15 s and at an ordered stop. Of
    later ones what does not come backfilled is lost with the process or the power: 5 s of results at most."""
    refused: Count
    """By the broker: its access rules."""
    published: Count


class CloudLeft(TypedDict):
    """What is left of an allowance."""

    calls: Count
    mb: float
    """10^6 bytes."""


class CloudHealth(TypedDict):
    """The cloud. Counts are of this run: calls = results + late + failed + one under way."""

    breaker: Literal["closed", "open", "half_open"]
    """closed: calls go; open: the server fails and is left alone; half_open: one probe may go."""
    calls: Count
    """Those too that ended before anything was sent; none is made once the budget is spent."""
    results: Count
    late: Count
    """Answers that nobody wanted any more."""
    failed: Count
    sent_mb: float
    """Bodies of requests, 10^6 bytes."""
    cause: str | None
    """Why the last call gave nothing."""
    left: dict[str, CloudLeft]
    """Of the budget, of this `hour` and this `day`."""


class FallbackHealth(TypedDict):
    """Who looks while the device's own model cannot."""

    looking: Literal["cloud", "motion"] | None
    """Null: nobody, or the device itself."""
    cloud: CloudHealth | None
    """Null: not enabled."""
    motion_results: Count | None
    """Null: not enabled."""


class BoardHealth(TypedDict):
    """The computer; null where it cannot say."""

    temperature_c: float | None
    throttled_now: list[str] | None
    """Of under_voltage, frequency_capped, throttled, soft_temperature_limit."""
    throttled_ever: list[str] | None
    """The same, at any time since the daemon's start, and what the firmware still remembers."""
    cpu_mhz: float | None
    cpu_highest_mhz: float | None
    """That the processor is made for."""
    cpu_slowed: bool | None
    """The kernel allows it less than before."""
    rss_mb: float | None
    """The daemon's resident memory."""
    capture_rss_mb: float | None
    """The capture process's."""
    memory_available_mb: float | None
    memory_allowed_mb: float | None
    """Left of the unit's own limit."""
    memory_stalled: Unit | None
    """Share of the last seconds in which a process waited for memory."""
    memory_pressed: bool | None
    """Too much of that: the reason `memory_pressure`."""
    cma_free_mb: float | None
    """Contiguous memory that cameras need."""
    disk_free_mb: float | None
    """Of the state folder."""
    disk_mb: float | None
    """How large that disk is."""
    clock_synced: bool | None


class LastEndPayload(TypedDict):
    """How the run before this one ended."""

    run: Count
    kind: EndKind
    """stopped: asked to; failed: by itself, with an error; hung: a thread made no progress, so the watchdog ended it;
    killed: without a word, by a signal, for want of memory, or by a crash in native code; power_cut: the machine
    restarted under it."""
    detail: str
    """In words: what asked, the error, or which threads hung."""


class GovernorHealth(TypedDict):
    """How far the rate of detection is lowered for the board's sake."""

    step: Count
    """0: not at all."""
    share: Unit
    """Of the full rate."""
    limit_per_s: float | None
    """Frames a second, on average; null: as many as there are."""
    why: str | None
    """What lowered it, in words."""
    since: Timestamp | None
    """Of the last step."""


class HealthPayload(TypedDict):
    """How the device is; on every change of state or reasons, and every half minute."""

    schema: Literal["vedette.health/1"]
    device: str
    run: Count
    at: Timestamp
    uptime_s: float
    last_end: LastEndPayload | None
    """Null: no run before, or no note of it."""
    state: HealthState
    reasons: list[ReasonPayload]
    capture: CaptureHealth
    inference: InferenceHealth
    fallback: FallbackHealth
    scores: dict[str, ScoreHealth]
    """By label; rare labels beyond a limit together as `other`."""
    image: ImageHealth
    drift: DriftHealth
    mqtt: MqttHealth
    board: BoardHealth
    governor: GovernorHealth
