"""The table of all metrics of a device: name, meaning, and where in its messages the values are.

Invariants: names have Prometheus' base units, and `_total` for a counter. A counter begins again with the run of the
daemon, the score histograms with the model too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple, get_args

from vedette.page.metric_readers import Computed, Facts, Messages, Reader, States, Value, walk
from vedette.serve.exposition import Kind, Sample
from vedette.types import CameraState, ConfigurationState, EndKind, HealthState, ModelState, ReasonCode

MILLI = 1e-3
MEGA = 1e6
"""Also of megabytes: health counts in 10^6 bytes."""
HOUR = 3600.0
_BREAKER = ("closed", "open", "half_open")
_THROTTLING = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_COLLECTION = ("off", "collecting", "stopped", "complete")
_VIEW = ("covered", "moved", "out of focus", "dark", "flat")


class Metric(NamedTuple):
    """One family of metrics."""

    name: str
    meaning: str
    reader: Reader

    @property
    def kind(self) -> Kind:
        """What Prometheus may do with it."""
        if "le" in self.reader.labels:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


def _health_time(messages: Messages) -> Iterator[Sample]:
    for _, at in walk(messages, ("health", "at")):
        yield Sample({}, datetime.fromisoformat(at).timestamp())


def _detecting(messages: Messages) -> Iterator[Sample]:
    for _, counts in walk(messages, ("counts", "counts")):
        yield Sample({}, int(counts is not None))


def _objects(messages: Messages) -> Iterator[Sample]:
    """Also 0 for the labels with scores: the device detects them, and now there is none of them."""
    for _, counts in walk(messages, ("counts", "counts")):
        if counts is not None:
            seen = [keys[0] for keys, _ in walk(messages, ("health", "scores", "*")) if keys != ("other",)]
            for label, count in {**dict.fromkeys(seen, 0), **counts}.items():
                yield Sample({"label": label}, int(count))


def _zone_things(messages: Messages) -> Iterator[Sample]:
    for (zone,), counts in walk(messages, ("zones", "zones", "*")):
        yield Sample({"zone": zone}, sum(counts.values()))


def _fallback(messages: Messages) -> Iterator[Sample]:
    for _, looking in walk(messages, ("health", "fallback", "looking")):
        yield from (Sample({"fallback": each}, int(each == looking)) for each in ("cloud", "motion"))


def _score_buckets(messages: Messages) -> Iterator[Sample]:
    """No `_sum`: of a mean with three decimals it would sometimes fall, and look like a new start of the counter."""
    for (label,), scores in walk(messages, ("health", "scores", "*")):
        for edge, count in enumerate(accumulate(map(int, scores["histogram"])), 1):
            yield Sample({"label": label, "le": str(edge / 10)}, count, "_bucket")
        yield Sample({"label": label, "le": "+Inf"}, int(scores["count"]), "_bucket")
        yield Sample({"label": label}, int(scores["count"]), "_count")


METRICS = (
    Metric("vedette_info", "Versions of the software, and the computer. The value is 1.",
           Facts(version="info.versions.vedette", python="info.versions.python", os="info.versions.os",
                 board="info.hardware.board", machine="info.hardware.machine")),
    Metric("vedette_health_timestamp_seconds", "Unix time of the newest health message.",
           Computed(_health_time)),
    Metric("vedette_runs_total", "Starts of the daemon, with this state folder.", Value("health.run")),
    Metric("vedette_uptime_seconds", "Time since the start of the daemon.", Value("health.uptime_s")),
    Metric("vedette_last_end", "How the previous run ended: 1 for that kind.",
           States("health.last_end.kind", "kind", get_args(EndKind))),
    Metric("vedette_health_state", "State of the device: 1 for the present state.",
           States("health.state", "state", get_args(HealthState))),
    Metric("vedette_reason", "Reasons of the state: 1 if the reason is active.",
           States("health.reasons", "code", get_args(ReasonCode))),
    Metric("vedette_detecting", "1 if the device detects. 0 if its counts are null.", Computed(_detecting)),
    Metric("vedette_objects", "Objects in view. Without samples, the device does not detect.",
           Computed(_objects, "label")),
    Metric("vedette_zone_things", "Things with an event in the zone.", Computed(_zone_things, "zone")),
    Metric("vedette_zone_label_things", "Things with an event in the zone, by label. Without a sample, there is none.",
           Value("zones.zones.*.*", "zone", "label")),
    Metric("vedette_camera_info", "The camera. The value is 1.",
           Facts(source="info.camera.source", width="info.camera.width", height="info.camera.height")),
    Metric("vedette_camera_state", "State of the camera: 1 for the present state.",
           States("health.capture.state", "state", get_args(CameraState))),
    Metric("vedette_camera_frames_per_second", "Frames captured per second.", Value("health.capture.fps")),
    Metric("vedette_camera_expected_frames_per_second", "Frames per second, as configured.", Value("info.camera.fps")),
    Metric("vedette_frames_captured_total", "Frames captured: detected, dropped and pending ones.",
           Value("health.capture.captured")),
    Metric("vedette_frames_detected_total", "Frames with a result of the model or of the motion detector.",
           Value("health.capture.detected")),
    Metric("vedette_frames_dropped_total", "Dropped frames, by cause.", Value("health.capture.dropped.*", "cause")),
    Metric("vedette_frames_pending", "Frames that wait for the detector or are in it.",
           Value("health.capture.pending")),
    Metric("vedette_frame_age_seconds", "Time from capture until the result was ready, over the newest frames.",
           Value("health.capture.age_ms.*", "percentile", unit=MILLI)),
    Metric("vedette_camera_reopened_total", "How often the source was opened again.", Value("health.capture.reopened")),
    Metric("vedette_capture_processes_replaced_total", "How often the capture process was replaced.",
           Value("health.capture.children_replaced")),
    Metric("vedette_image_brightness", "Mean brightness (luma) of the pixels, 0-255.",
           Value("health.image.brightness")),
    Metric("vedette_image_contrast", "Standard deviation of the brightness.", Value("health.image.contrast")),
    Metric("vedette_model_info", "The running model. The value is 1.",
           Facts(name="model.title", version="model.installed_version", latest_version="model.latest_version",
                 release="model.release", variant="model.variant", sha256="model.sha256")),
    Metric("vedette_model_state", "State of the model or of its update: 1 for the present state.",
           States("model.state", "state", get_args(ModelState))),
    Metric("vedette_model_update_in_progress", "1 while a model is being updated.", Value("model.in_progress")),
    Metric("vedette_model_update_ratio", "Progress of the download or of the shadow.",
           Value("model.update_percentage", unit=0.01)),
    Metric("vedette_last_update_info", "How the last update of the model ended. The value is 1.",
           Facts(code="model.last_update.code", release="model.last_update.release",
                 sha256="model.last_update.sha256", at="model.last_update.at")),
    Metric("vedette_last_update_ok", "1 if the last update ended without a failure.", Value("model.last_update.ok")),
    Metric("vedette_configuration_info", "The signed configuration that applies. The value is 1.",
           Facts(release="model.configuration.release", version="model.configuration.version",
                 sha256="model.configuration.sha256")),
    Metric("vedette_configuration_state", "State of the signed configuration: 1 for the present state.",
           States("model.configuration.state", "state", get_args(ConfigurationState))),
    Metric("vedette_configuration_last_update_info",
           "How the last update of the signed configuration ended. The value is 1.",
           Facts(code="model.configuration.last_update.code", release="model.configuration.last_update.release",
                 sha256="model.configuration.last_update.sha256", at="model.configuration.last_update.at")),
    Metric("vedette_configuration_last_update_ok",
           "1 if the last update of the signed configuration ended without a failure.",
           Value("model.configuration.last_update.ok")),
    Metric("vedette_runtime_info", "The interpreter. The value is 1.",
           Facts(runtime="health.inference.runtime", version="health.inference.runtime_version")),
    Metric("vedette_inference_threads", "Threads of the interpreter.", Value("health.inference.threads")),
    Metric("vedette_inference_xnnpack_ratio", "Share of the model's operations that run on XNNPACK (fast code).",
           Value("health.inference.xnnpack_share")),
    Metric("vedette_inferences_total", "Frames for which the model gave a result.", Value("health.inference.count")),
    Metric("vedette_inference_errors_total", "Frames in which the model failed.", Value("health.inference.errors")),
    Metric("vedette_stage_seconds", "Time of each stage for one frame, over the newest frames.",
           Value("health.inference.timing_ms.*.*", "stage", "percentile", unit=MILLI)),
    Metric("vedette_score", "Scores of the running model. It has no sum; see the mean.",
           Computed(_score_buckets, "label", "le")),
    Metric("vedette_score_mean", "Mean score of the running model.", Value("health.scores.*.mean", "label")),
    Metric("vedette_fallback", "1 for the fallback that gives results now.", Computed(_fallback, "fallback")),
    Metric("vedette_fallback_motion_results_total", "Results of the motion detector.",
           Value("health.fallback.motion_results")),
    Metric("vedette_cloud_breaker_state", "The circuit breaker of the cloud: 1 for the present state.",
           States("health.fallback.cloud.breaker", "state", _BREAKER)),
    Metric("vedette_cloud_calls_total", "Calls of the cloud.", Value("health.fallback.cloud.calls")),
    Metric("vedette_cloud_results_total", "Calls with a result.", Value("health.fallback.cloud.results")),
    Metric("vedette_cloud_late_total", "Calls whose answer came too late.", Value("health.fallback.cloud.late")),
    Metric("vedette_cloud_failed_total", "Calls that failed.", Value("health.fallback.cloud.failed")),
    Metric("vedette_cloud_sent_bytes_total", "Size of the bodies that were sent.",
           Value("health.fallback.cloud.sent_mb", unit=MEGA)),
    Metric("vedette_cloud_calls_left", "Calls that are left of the budget.",
           Value("health.fallback.cloud.left.*.calls", "period")),
    Metric("vedette_cloud_bytes_left", "Bytes that are left of the budget.",
           Value("health.fallback.cloud.left.*.mb", "period", unit=MEGA)),
    Metric("vedette_drift_score_mean", "Mean score over seven days.", Value("health.drift.labels.*.mean", "label")),
    Metric("vedette_drift_score_baseline", "The mean score that it is compared with.",
           Value("health.drift.labels.*.baseline", "label")),
    Metric("vedette_drift_scores", "Scores in seven days.", Value("health.drift.labels.*.count", "label")),
    Metric("vedette_drift_inference_seconds", "Mean time of the interpreter alone, over seven days.",
           Value("health.drift.latency.mean_ms", unit=MILLI)),
    Metric("vedette_drift_inference_baseline_seconds", "The learnt time that it is compared with.",
           Value("health.drift.latency.baseline_ms", unit=MILLI)),
    Metric("vedette_drift_learning_seconds", "Time that is left to learn the latency and the scores.",
           Value("health.drift.learning_hours", unit=HOUR)),
    Metric("vedette_drift_view_changed", "What is wrong with the view of the camera: 1 if it is so.",
           States("health.drift.image.changes", "change", _VIEW)),
    Metric("vedette_drift_view_similarity", "Similarity to the most similar known view. 1 means the same.",
           Value("health.drift.image.likeness")),
    Metric("vedette_drift_view_focus_ratio", "Share of fine detail in all detail of the image.",
           Value("health.drift.image.focus")),
    Metric("vedette_drift_views", "Known views.", Value("health.drift.image.references")),
    Metric("vedette_drift_view_learning_seconds", "Time in which a new view is still learnt.",
           Value("health.drift.image.learning_hours", unit=HOUR)),
    Metric("vedette_feedback_results", "Results with feedback, in seven days.", Value("health.drift.feedback.count")),
    Metric("vedette_feedback_wrong_results", "Results that were wrong, in seven days.",
           Value("health.drift.feedback.wrong")),
    Metric("vedette_feedback_error_ratio", "Share of wrong results.", Value("health.drift.feedback.error_rate")),
    Metric("vedette_collection_state", "The pictures for the workshop: 1 for the present state.",
           States("health.collect.state", "state", _COLLECTION)),
    Metric("vedette_collected_pictures", "Pictures that the device has collected.", Value("health.collect.pictures")),
    Metric("vedette_collected_bytes", "Size of these pictures.", Value("health.collect.mb", unit=MEGA)),
    Metric("vedette_collection_left_seconds", "Time of detection that is left to collect them.",
           Value("health.collect.hours_left", unit=HOUR)),
    Metric("vedette_collection_missed_total", "Frames that came too fast to be considered.",
           Value("health.collect.missed")),
    Metric("vedette_mqtt_connected", "1 while the device is connected to the broker.", Value("health.mqtt.connected")),
    Metric("vedette_mqtt_reconnects_total", "How often it connected again.", Value("health.mqtt.reconnects")),
    Metric("vedette_mqtt_published_total", "Messages that the broker acknowledged.", Value("health.mqtt.published")),
    Metric("vedette_mqtt_refused_total", "Messages that the broker refused because of its access rules.",
           Value("health.mqtt.refused")),
    Metric("vedette_outbox_messages", "Messages that wait in memory.", Value("health.mqtt.outbox_depth")),
    Metric("vedette_outbox_dropped_total", "Dropped messages.", Value("health.mqtt.outbox_dropped")),
    Metric("vedette_outbox_dropped_ever_total", "Dropped messages over all runs, by the first level of the topic.",
           Value("health.mqtt.dropped_ever.*", "topic")),
    Metric("vedette_spool_messages", "Messages that wait on disk.", Value("health.mqtt.spooled")),
    Metric("vedette_spool_bytes", "Size of the messages on disk.", Value("health.mqtt.spool_mb", unit=MEGA)),
    Metric("vedette_board_temperature_celsius", "Temperature of the processor.", Value("health.board.temperature_c")),
    Metric("vedette_board_throttled", "What the firmware reports now: 1 if it is so.",
           States("health.board.throttled_now", "condition", _THROTTLING)),
    Metric("vedette_board_throttled_ever", "What the firmware has reported since its start.",
           States("health.board.throttled_ever", "condition", _THROTTLING)),
    Metric("vedette_cpu_frequency_hertz", "Frequency of the processor.", Value("health.board.cpu_mhz", unit=MEGA)),
    Metric("vedette_cpu_frequency_highest_hertz", "Highest frequency that the processor is made for.",
           Value("health.board.cpu_highest_mhz", unit=MEGA)),
    Metric("vedette_cpu_slowed", "1 if the kernel allows a lower frequency than before.",
           Value("health.board.cpu_slowed")),
    Metric("vedette_daemon_resident_memory_bytes", "Resident memory of the daemon.",
           Value("health.board.rss_mb", unit=MEGA)),
    Metric("vedette_capture_resident_memory_bytes", "Resident memory of the capture process.",
           Value("health.board.capture_rss_mb", unit=MEGA)),
    Metric("vedette_memory_available_bytes", "Memory that is available.",
           Value("health.board.memory_available_mb", unit=MEGA)),
    Metric("vedette_memory_allowed_bytes", "Memory that is left until the unit reaches its own limit.",
           Value("health.board.memory_allowed_mb", unit=MEGA)),
    Metric("vedette_memory_stalled_ratio", "Share of the time in which a process waited for memory.",
           Value("health.board.memory_stalled")),
    Metric("vedette_memory_pressed", "1 if that share is too large.", Value("health.board.memory_pressed")),
    Metric("vedette_cma_free_bytes", "Free contiguous memory, which cameras need.",
           Value("health.board.cma_free_mb", unit=MEGA)),
    Metric("vedette_disk_free_bytes", "Free space on the disk of the state folder.",
           Value("health.board.disk_free_mb", unit=MEGA)),
    Metric("vedette_disk_size_bytes", "Size of that disk.", Value("health.board.disk_mb", unit=MEGA)),
    Metric("vedette_clock_synced", "1 if a time server has set the clock.", Value("health.board.clock_synced")),
    Metric("vedette_governor_step", "Step of the governor. At 0 the rate is not lowered.",
           Value("health.governor.step")),
    Metric("vedette_governor_ratio", "Share of the full rate.", Value("health.governor.share")),
    Metric("vedette_governor_limit_frames_per_second", "Highest rate. Without a sample, there is no limit.",
           Value("health.governor.limit_per_s")),
)
