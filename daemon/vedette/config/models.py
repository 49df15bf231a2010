"""Every configuration key: its type, default, meaning, and whether a reload applies it.

Invariants: defaults live here and nowhere else; every model is frozen and forbids unknown keys; a secret is
never a value, only a `*_file` that names where it lies. config.yaml is written from these models.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

DEVICE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def live(default: Any, description: str, **limits: Any) -> Any:
    """Declare a key that `SIGHUP` applies at once."""
    return Field(default, description=description, json_schema_extra={"applies": "live"}, **limits)


def restart(default: Any, description: str, **limits: Any) -> Any:
    """Declare a key that needs a restart."""
    return Field(default, description=description, json_schema_extra={"applies": "restart"}, **limits)


class Section(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=False)


Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Unit, Unit]


def _roi(value: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
    if value is not None and not (value[0] < value[2] and value[1] < value[3]):
        raise ValueError("expected [xmin, ymin, xmax, ymax] with xmin < xmax and ymin < ymax")
    return value


SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtp", "udp", "tcp", "srt", "file")
"""What FFmpeg opens as a stream, and files; `synthetic?…` and paths have no scheme."""


def _source(value: str) -> str:
    scheme, colon, _ = value.partition("://")
    if colon and scheme.lower() not in SCHEMES:
        raise ValueError(f"a path or one of {', '.join(f'{known}://' for known in SCHEMES)}")
    return value


class CameraConfig(Section):
    """What to watch and how."""

    source: Annotated[str, AfterValidator(_source)] = restart(
        "auto", "auto (picamera2, else the first V4L2 device), picamera2, /dev/v4l/by-id/…, rtsp://…, http://…, "
                "a video file, a folder of images, or synthetic", min_length=1)
    width: int = restart(1280, "pixels; asked of a camera. A larger stream or file is scaled down to fit, never up",
                         ge=32, le=7680)
    height: int = restart(720, "pixels", ge=32, le=4320)
    fps: float = restart(15, "frames per second, at most", gt=0, le=240)
    rotate: Literal[0, 90, 180, 270] = restart(0, "degrees clockwise, before anything else sees the frame")
    roi: Annotated[tuple[Unit, Unit, Unit, Unit] | None, AfterValidator(_roi)] = restart(
        None, "[xmin, ymin, xmax, ymax] in 0-1: only this part is given to the model; boxes stay relative to the frame")
    masks: tuple[Annotated[tuple[Point, ...], Field(min_length=3)], ...] = restart(
        (), "privacy masks: polygons of [x, y] in 0-1, painted black before anything sees or leaves")
    max_frame_age_ms: float = live(1000, "an older frame is dropped and counted as stale, never detected", gt=0)
    frozen_after_s: float = restart(60, "seconds of bit-identical pictures until the camera counts as frozen", gt=0)
    every_frame: bool = restart(False, "a file, a folder or synthetic: detect every frame as fast as it goes (for "
                                       "evaluation; max_frame_age_ms holds all the same) instead of playing in real "
                                       "time and dropping as a camera would")
    loop: bool = restart(False, "a file or folder: start again at its end")
    credentials_file: Path | None = restart(None, "file with user:password for a stream; never put them in the URL")


class DetectorConfig(Section):
    """The model and what counts as a detection."""

    model: Path | None = restart(
        None, "path of a .tflite file; pins it: updates are then refused. null: the model in the box for `synthetic`")
    runtime: Literal["auto", "litert", "tflite-runtime"] = restart("auto", "auto prefers litert")
    threads: int = restart(2, "threads of the interpreter; more than the board has cores is a disaster", ge=1, le=16)
    score_threshold: Unit = live(0.5, "scores below are no detections")
    iou_threshold: Unit = live(0.5, "boxes of one label that overlap more are one object")
    max_detections: int = live(100, "of one frame, best scores first", ge=1, le=1000)
    labels: dict[str, Unit] = live({}, "score threshold of single labels, e.g. {person: 0.6}")
    allow: tuple[str, ...] = live((), "only these labels; empty: all")
    deny: tuple[str, ...] = live((), "never these labels")
    labels_file: Path | None = restart(None, "one label a line; only for a model that carries none")
    decoder: Literal["ssd", "yolov5", "yolov8", "yolo_end2end", "anchors", "ltrb", "fomo",
                     "classifier"] | None = restart(
        None, "only where the model does not say it itself; see `vedette model inspect`")
    color: Literal["rgb", "bgr"] | None = restart(None, "channel order the model wants; only where it does not say it")
    resize: Literal["letterbox", "stretch"] | None = restart(None, "only where the model does not say it")
    mean: tuple[float, ...] | None = restart(None, "input = (byte - mean) / std; only where the model does not say it")
    std: tuple[float, ...] | None = restart(None, "see mean")

    @model_validator(mode="after")
    def _normalization(self) -> Self:
        lengths = {len(self.mean or ()), len(self.std or ())}
        if lengths not in ({0}, {1}, {3}) or 0 in (self.std or ()):
            raise ValueError("expected mean and std together, each of 1 or 3 numbers, and no std of 0")
        return self


class PublishConfig(Section):
    """Which results are published."""

    results: Literal["changes", "detections", "all"] = live(
        "changes", "changes: labels and their numbers differ, stable for two results; detections: something in it, "
                   "and the first empty one after; all")
    refresh_s: float = live(10, "changes: publish at least this often", gt=0)
    max_per_s: float = live(5, "never more results per second than this", gt=0)


class TlsConfig(Section):
    """Transport security of the broker connection."""

    ca_file: Path | None = restart(None, "PEM; null: the system's certificates")
    cert_file: Path | None = restart(None, "PEM client certificate, with its key or beside key_file")
    key_file: Path | None = restart(None, "PEM key of the client certificate")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("expected cert_file beside key_file")
        return self


class MqttConfig(Section):
    """The broker."""

    host: str = restart("127.0.0.1", "host name or address", min_length=1)
    port: int = restart(1883, "1883, or 8883 with tls", ge=1, le=65535)
    protocol: Literal[5, "3.1.1"] = restart(5, '5, or "3.1.1" for an old broker')
    username: str | None = restart(None, "user name")
    password_file: Path | None = restart(None, "file that holds the password; needs username")
    tls: TlsConfig | None = restart(None, "{ca_file, cert_file, key_file}; {} for TLS with the system's certificates")
    keepalive_s: int = restart(15, "seconds", ge=5, le=600)
    outbox_messages: int = restart(1000, "kept while the broker is away; then the oldest is dropped and counted. "
                                         "Besides them: at most 20 under way, and the latest of each retained topic",
                                   ge=10, le=100_000)
    spool_mb: float = restart(64, "megabytes on disk for what the broker does not take in time; then the oldest is "
                                  "dropped and counted. 0: memory only", ge=0)
    spool_hours: float = restart(72, "what waited longer on disk is dropped and counted", gt=0)
    replay_per_s: float = restart(50, "messages per second from disk, behind live ones, once the broker is back", gt=0)
    clock_wait_s: float = restart(60, "seconds from the first connect that messages on disk with time stamps from "
                                      "before the clock was set may wait for it; then they are sent as they are", ge=0)

    @model_validator(mode="after")
    def _login(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("expected username beside password_file: a password alone is never sent")
        return self


CommandName = Literal["update", "rollback", "snapshot", "pause", "resume", "restart", "feedback", "relearn"]


class CommandsConfig(Section):
    """What may be asked over MQTT."""

    allow: tuple[CommandName, ...] = live(("update", "resume"), "of update, rollback, snapshot, pause, resume, "
                                                                 "restart, feedback, relearn")


LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def _cloud_url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme == "https" and parts.hostname:
        return value
    if parts.scheme == "http" and LOOPBACK.fullmatch(parts.hostname or ""):
        return value
    raise ValueError("expected https://…, or http:// on loopback")


CloudLabel = Annotated[str, Field(min_length=1, max_length=100)]


class CloudConfig(Section):
    """The cloud fallback: who looks when no model on the device can. Off, nothing leaves the device."""

    enabled: bool = restart(False, "needs url and token_file; masked frames are then sent while the device cannot look")
    url: Annotated[str | None, AfterValidator(_cloud_url)] = restart(
        None, "https://… of `vedette serve` (/v1/detect) or of a YOLOv5/Flask server; http:// on loopback only")
    dialect: Literal["vedette", "yolov5"] = restart("vedette", "what the server speaks; yolov5: the plain Flask server")
    token_file: Path | None = restart(None, "file that holds the bearer token; read anew for every call")
    ca_file: Path | None = restart(None, "PEM of the server's authority; null: the system's certificates")
    deadline_s: float = restart(2, "seconds for a whole call, from the frame to its result", gt=0.05, le=30)
    interval_s: float = restart(5, "seconds between calls, at least", gt=0)
    max_jpeg_kb: int = restart(200, "a frame is sent smaller or coarser until it fits", ge=8, le=10_000)
    per_hour: int = restart(720, "calls, at most", ge=1)
    per_day: int = restart(5000, "calls, at most; a day is 24 hours from the first call", ge=1)
    mb_per_hour: float = restart(100, "megabytes sent, at most", gt=0)
    mb_per_day: float = restart(1000, "megabytes sent, at most", gt=0)
    labels: dict[str, CloudLabel] = restart({}, "the server's labels in our words, e.g. {pedestrian: person}")
    masks: tuple[Annotated[tuple[Point, ...], Field(min_length=3)], ...] = restart(
        (), "as camera.masks: polygons painted black in what is sent, besides those")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.enabled and (self.url is None or self.token_file is None):
            raise ValueError("expected url and token_file beside enabled")
        return self


class FallbackConfig(Section):
    """Who looks when neither the model on the device nor the cloud can."""

    motion: bool = restart(False, "tell what moves, as boxes labelled `motion` without a score; off, the device says "
                                  "`failed` then, and tells nothing")


def _update_source(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://", "/")):
        raise ValueError("expected http://…, https://… or the absolute path of a folder")
    return value


class UpdateConfig(Section):
    """Where new models come from, and what is taken."""

    source: Annotated[str | None, AfterValidator(_update_source)] = restart(
        None, "https://… of a signed repository (see `vedette fleet`), or the absolute path of a folder that holds "
              "one; null: no polling")
    root: Path | None = restart(None, "root.json of that repository: what is trusted from the start")
    ca_file: Path | None = restart(None, "PEM of the server's authority; null: the system's certificates")
    device_class: str = restart("default", "which releases fit this device", min_length=1)
    channel: str = restart("stable", "which releases this device follows", min_length=1)
    poll_minutes: float = restart(60, "minutes between polls, jittered", gt=0)
    require_signed: bool = restart(True, "take only what signed metadata names, also of files given by hand")
    latency_budget_ms: float | None = restart(None, "a model that takes longer for a frame is refused", gt=0)
    min_free_mb: float = restart(100, "disk space that no download may take", ge=0)

    @model_validator(mode="after")
    def _trusted(self) -> Self:
        if self.source is not None and self.root is None:
            raise ValueError("expected root beside source: nothing can be trusted without it")
        return self


class GovernorConfig(Section):
    """Looks at fewer frames before the board gets so hot that its firmware slows it down."""

    enabled: bool = live(True, "false: the rate is never lowered")
    target_c: float = live(75, "degrees Celsius of the processor; above, fewer frames are looked at. A Raspberry Pi "
                               "throttles at 80; a 3B+ takes a seventh off its clock at 60: 57 avoids that too",
                           ge=30, le=110)


class HealthConfig(Section):
    """How often the device tells how it is, and what it is compared with."""

    interval_s: float = live(30, "seconds between health messages; changes are told at once", ge=1)
    baseline: Literal["learnt", "bundle"] = live(
        "learnt", "what the scores of seven days are compared with: what this device learnt first, or what the bundle "
                  "states of its training, which seldom holds elsewhere")
    learn_hours: float = live(48, "hours of watching in which scores, latency and picture are learnt; whole days", gt=0)
    image_drift_after_s: float = live(60, "seconds that a camera must be covered, moved or out of focus to be named; "
                                          "more where lorries stop before it", ge=1)


def _device(value: str | None) -> str | None:
    if value == "fleet":
        raise ValueError("expected another name: vedette/fleet is every device's topic")
    return value


class Config(Section):
    """The whole configuration of one device."""

    device: Annotated[Annotated[str, Field(pattern=DEVICE_PATTERN)] | None, AfterValidator(_device)] = restart(
        None, "name in every topic; null: host name, instance, four digits of the machine id")
    camera: CameraConfig = CameraConfig()
    detector: DetectorConfig = DetectorConfig()
    publish: PublishConfig = PublishConfig()
    mqtt: MqttConfig = MqttConfig()
    commands: CommandsConfig = CommandsConfig()
    cloud: CloudConfig = CloudConfig()
    fallback: FallbackConfig = FallbackConfig()
    update: UpdateConfig = UpdateConfig()
    governor: GovernorConfig = GovernorConfig()
    health: HealthConfig = HealthConfig()
