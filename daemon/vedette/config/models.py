"""Every configuration key: its type, default, meaning, and whether a reload applies it.

Invariants: defaults live here and nowhere else; every model is frozen and forbids unknown keys; a secret is never a
value: a `*_file` key names the file that holds it. config.yaml and docs/config.md are written from these models.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from vedette.config.addresses import bare_host, camera_source, no_number, web_url
from vedette.config.camera_values import Control, Masks, Roi, Unit
from vedette.config.collect import CollectConfig
from vedette.config.home_assistant import HomeAssistantConfig
from vedette.config.page import CommandName, PageConfig
from vedette.config.scene import EventsConfig, GateConfig, Lines, Zones
from vedette.config.section import Section, live, restart
from vedette.config.update import UpdateConfig
from vedette.net.urls import PLACEHOLDERS

DEVICE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class CameraConfig(Section):
    """The camera and its frames."""

    source: Annotated[str, BeforeValidator(no_number), AfterValidator(camera_source)] = restart(
        "auto", "auto: picamera2, else the first V4L2 device. synthetic: a street that the daemon draws. Others: "
                "picamera2, picamera2:1, picamera2:imx708, /dev/v4l/by-id/…, rtsp://…, http://…, a video file, a "
                "folder of images. `vedette camera list` shows the cameras of this machine.", min_length=1)
    width: int = restart(
        1280, "Frame width in pixels. Width and height apply before the rotation. The daemon asks a camera for this "
              "size. It scales a larger frame down to fit. It never scales a smaller frame up.", ge=32, le=7680)
    height: int = restart(720, "Frame height in pixels.", ge=32, le=4320)
    fps: float = restart(15, "Highest number of frames per second.", gt=0, le=240)
    rotate: Literal[0, 90, 180, 270] = restart(
        0, "Rotation of each frame, in degrees clockwise. The rotation comes before roi and masks.")
    roi: Roi | None = live(
        None, "[xmin, ymin, xmax, ymax] in 0-1. The model gets only this part of the frame. Boxes stay relative to the "
              "whole frame. If the source, size, rotation or controls change too, it waits with them for the "
              "restart. A region that shows more waits with new masks.")
    masks: Masks = restart(
        (), "Privacy masks: polygons of [x, y] in 0-1. The inside of each polygon is black before the daemon uses or "
            "sends a frame.")
    max_frame_age_ms: float = live(
        1000, "Milliseconds after which a frame is too old. The daemon drops such a frame and counts it as stale.",
        gt=0)
    frozen_after_s: float = restart(
        60, "If all frames are exactly the same for these seconds, the camera is frozen.", gt=0)
    decode: Literal["all", "keyframes"] = restart(
        "all", "For a stream or a video file. keyframes: only the keyframes of H.264 or H.265 become frames, often one "
               "every 1 to 5 s. That costs a fraction of the processor time. all: every picture is decoded.")
    focus: float | None = restart(
        None, "For picamera2. null: the lens focuses all the time, if the camera can move it. A number: the lens stays "
              "at this distance, in dioptres (1 / metres). 0 is infinity.", ge=0, le=100)
    controls: dict[str, Control] = restart(
        {}, "For picamera2: controls by the names of libcamera, such as {ExposureTime: 10000, AnalogueGain: 2, "
            "AwbMode: Daylight, HdrMode: SingleExposure}. hflip and vflip mirror the picture. If the camera does not "
            "have a control, the cause in health names those that it has.")
    every_frame: bool = restart(
        False, "For a file, a folder or synthetic. true: the daemon detects in every frame, as fast as possible, for "
               "evaluation. false: the source plays in real time, and frames may be dropped, as with a camera. "
               "max_frame_age_ms applies in both cases.")
    loop: bool = restart(False, "For a file or a folder. true: the source starts again when it has ended.")
    gate: GateConfig = restart(
        GateConfig(), "Motion gate: {enabled: true, every_s: 10}. The detector then gets no frames in which nothing "
                      "moves.")
    credentials_file: Path | None = restart(
        None, "File with user:password for a stream. A URL must not contain them. Some cameras want them in the path "
              "or the query: write {user} and {password} there.")

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        if self.credentials_file is None and any(each in self.source for each in PLACEHOLDERS):
            raise ValueError(f"expected credentials_file beside {' and '.join(PLACEHOLDERS)} in source")
        return self


class DetectorConfig(Section):
    """The model, and what counts as a detection."""

    model: Path | None = restart(
        None, "Path of a .tflite file. The daemon then runs only this model and refuses updates. null: the installed "
              "model. If none is installed, synthetic uses the model in the box, which comes with Vedette.")
    runtime: Literal["auto", "litert", "tflite-runtime"] = restart(
        "auto", "TFLite runtime. auto: the one that is installed, or of both the one that runs the model faster here.")
    threads: int = restart(
        2, "Threads of the interpreter. If there are more threads than cores, the model is several times slower.",
        ge=1, le=16)
    score_threshold: Unit = live(0.5, "Lowest score of a detection.")
    iou_threshold: Unit = live(0.5, "If two boxes of one label overlap more than this (IoU), they are one object.")
    max_detections: int = live(
        100, "Highest number of detections in one frame. The detections with the best scores are kept.", ge=1, le=1000)
    labels: dict[str, Unit] = live({}, "Score threshold for single labels, such as {person: 0.6}.")
    allow: tuple[str, ...] = live((), "Keep only detections with these labels. Empty: all labels.")
    deny: tuple[str, ...] = live((), "Drop detections with these labels.")
    labels_file: Path | None = restart(
        None, "File with the labels, for a model file without labels: one label per line, or another usual form.")
    decoder: Literal["ssd", "yolov5", "yolov6", "yolov8", "yolox", "yolo_end2end", "anchors", "ltrb",
                     "fomo", "classifier"] | None = restart(
        None, "How the output is decoded. null: as the model file says (see `vedette model inspect`).")
    color: Literal["rgb", "bgr"] | None = restart(
        None, "Order of the color channels in the model's input. null: as the model file says.")
    resize: Literal["letterbox", "stretch"] | None = restart(
        None, "How a frame is fitted to the model's input. letterbox: grey bars fill the rest. stretch: the frame is "
              "distorted. null: as the model file says.")
    mean: tuple[float, ...] | None = restart(
        None, "Input = (byte - mean) / std. One number, or one for each channel. null: as the model file says.")
    std: tuple[float, ...] | None = restart(None, "See mean. Both keys belong together.")

    @model_validator(mode="after")
    def _normalization(self) -> Self:
        lengths = {len(self.mean or ()), len(self.std or ())}
        if lengths not in ({0}, {1}, {3}) or 0 in (self.std or ()):
            raise ValueError("expected mean and std together, each of 1 or 3 numbers, and no std of 0")
        return self


class PublishConfig(Section):
    """Which results are published."""

    results: Literal["changes", "detections", "all"] = live(
        "changes", "changes: a result is published when the counts of its labels have changed and two results in a row "
                   "agree. detections: each result with a detection, and the first empty result after it. all: each "
                   "result.")
    refresh_s: float = live(10, "For changes: after these seconds a result is published even without a change.", gt=0)
    max_per_s: float = live(5, "Highest number of results per second.", gt=0)


class TlsConfig(Section):
    """TLS of the broker connection."""

    ca_file: Path | None = restart(
        None, "PEM file of the authority that signed the broker's certificate. null: the system's certificates.")
    cert_file: Path | None = restart(
        None, "PEM file of the device's own certificate. Its key is in the same file or in key_file.")
    key_file: Path | None = restart(None, "PEM file of the key of that certificate.")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("expected cert_file beside key_file")
        return self


class MqttConfig(Section):
    """The MQTT broker, and the messages that wait for it."""

    host: Annotated[str, AfterValidator(partial(bare_host, section="mqtt"))] = restart(
        "127.0.0.1", "Host name or address of the broker, without scheme, brackets and port.", min_length=1)
    port: int = restart(1883, "Port of the broker: usually 1883, or 8883 with tls.", ge=1, le=65535)
    protocol: Literal[5, "3.1.1"] = restart(5, "MQTT version. 3.1.1 is for an old broker.")
    username: str | None = restart(None, "User name at the broker.")
    password_file: Path | None = restart(None, "File that contains the password. It needs username.")
    tls: TlsConfig | None = restart(
        None, "TLS with these files: {ca_file, cert_file, key_file}. {}: TLS with the system's certificates. null: no "
              "TLS.")
    keepalive_s: int = restart(15, "Seconds between keep-alive messages on the connection.", ge=5, le=600)
    outbox_messages: int = restart(
        1000, "Highest number of messages in memory while the broker is away. If there are more, the daemon drops the "
              "oldest one and counts it. It also keeps up to 20 messages that are being sent, and the latest message "
              "of each retained topic.", ge=10, le=100_000)
    spool_mb: float = restart(
        64, "Megabytes on disk for messages that the broker does not acknowledge in time. If there are more, the "
            "daemon drops the oldest messages and counts them. 0: memory only.", ge=0)
    spool_hours: float = restart(
        72, "If a message waits on disk for longer than these hours, the daemon drops and counts it.", gt=0)
    replay_per_s: float = restart(50, "Messages per second that are sent from disk when the broker is back. Live "
                                      "messages go first.", gt=0)
    clock_wait_s: float = restart(
        60, "Messages on disk may have time stamps from before the clock was set. They wait for these seconds from the "
            "first connect, so that the clock can be set. Then they are sent as they are.", ge=0)

    @model_validator(mode="after")
    def _login(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("expected username beside password_file: a password is never sent alone")
        return self


class CommandsConfig(Section):
    """The commands that the device accepts over MQTT."""

    allow: tuple[CommandName, ...] = live(("update", "resume"), "Commands that the device obeys.")


def _cloud_url(value: str | None) -> str | None:
    return None if value is None else web_url(value, plain_anywhere=False)


CloudLabel = Annotated[str, Field(min_length=1, max_length=100)]


class CloudConfig(Section):
    """The cloud fallback: a server detects while the device's own model cannot. If it is off, no frame is sent."""

    enabled: bool = restart(
        False, "true: masked frames are sent while the device's model cannot run, or while its results take too long. "
               "It needs url and token_file.")
    url: Annotated[str | None, AfterValidator(_cloud_url)] = restart(
        None, "https://… of `vedette serve` (/v1/detect) or of a YOLOv5/Flask server. http:// only on loopback.")
    dialect: Literal["vedette", "yolov5"] = restart(
        "vedette", "Format of requests and answers. yolov5: the format of the plain Flask server.")
    token_file: Path | None = restart(None, "File that contains the bearer token. It is read again for each call.")
    ca_file: Path | None = restart(
        None, "PEM file of the authority that signed the server's certificate. null: the system's certificates.")
    deadline_s: float = restart(2, "Longest time of a call in seconds, from the frame to its result.", gt=0.05, le=30)
    interval_s: float = restart(5, "Shortest time between calls, in seconds.", gt=0)
    max_jpeg_kb: int = restart(
        200, "Largest JPEG in kilobytes. The daemon reduces the size or the quality of a frame until it fits.",
        ge=8, le=10_000)
    per_hour: int = restart(720, "Highest number of calls in an hour.", ge=1)
    per_day: int = restart(5000, "Highest number of calls in a day. A day is 24 hours from the first call.", ge=1)
    mb_per_hour: float = restart(100, "Highest number of megabytes sent in an hour.", gt=0)
    mb_per_day: float = restart(1000, "Highest number of megabytes sent in a day.", gt=0)
    labels: dict[str, CloudLabel] = restart(
        {}, "New names for labels of the server: {pedestrian: person} publishes its label pedestrian as person.")
    masks: Masks = restart(
        (), "Polygons, as in camera.masks. Frames that are sent to the server are black there, in addition to "
            "camera.masks.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.enabled and (self.url is None or self.token_file is None):
            raise ValueError("expected url and token_file beside enabled")
        return self


class FallbackConfig(Section):
    """What the device does while neither its own model nor the cloud can detect."""

    motion: bool = restart(False, "true: moving things are published as boxes with the label `motion` and without a "
                                  "score. false: nothing is published, and health is `failed`.")


class GovernorConfig(Section):
    """The governor: it lowers the frame rate before the board gets so hot that its firmware slows it down."""

    enabled: bool = live(True, "false: the frame rate is never lowered.")
    target_c: float = live(75, "Temperature of the processor, in degrees Celsius. Above it the frame rate is lowered. "
                               "A Raspberry Pi slows its processor down at 80. A 3B+ lowers its clock frequency by a "
                               "seventh at 60; 57 avoids that too.", ge=30, le=110)


class HealthConfig(Section):
    """How often health is published, and the baseline that drift is measured against."""

    interval_s: float = live(30, "Seconds between health messages. Changes are published at once.", ge=1)
    baseline: Literal["learnt", "bundle"] = live(
        "learnt", "The scores of seven days are compared with this baseline. learnt: the first scores of this device. "
                  "bundle: the scores from the model's training, which are usually not right for another place.")
    learn_hours: float = live(
        48, "Hours of watching in which the device learns scores, latency and view. Use whole days.", gt=0)
    image_drift_after_s: float = live(
        60, "If a camera is covered, moved or out of focus for these seconds, health reports it. Use a larger value "
            "where trucks stop in front of the camera.", ge=1)


def _device(value: str | None) -> str | None:
    if value == "fleet":
        raise ValueError("expected another name: vedette/fleet is a topic of all devices")
    return value


class Config(Section):
    """The whole configuration of one device."""

    device: Annotated[Annotated[str, Field(pattern=DEVICE_PATTERN)] | None, AfterValidator(_device)] = restart(
        None, "Name of the device in every topic. null: a name from the host name, the instance and ten digits of the "
              "machine id (four where an earlier version has run).")
    camera: CameraConfig = CameraConfig()
    detector: DetectorConfig = DetectorConfig()
    publish: PublishConfig = PublishConfig()
    events: EventsConfig = EventsConfig()
    zones: Zones = live(
        {}, "Parts of the picture with a name: {drive: {points: [[0, 0.5], [1, 0.5], [1, 1]], loiter_s: 30, hold_s: 5, "
            "labels: [person]}}. A thing is in a zone if the middle of its box's lower edge is. It loiters after "
            "loiter_s there. A zone counts as occupied until hold_s after a thing has left it.")
    lines: Lines = live(
        {}, "Lines in the picture with a name: {gate: {from: [0, 0.6], to: [1, 0.6], labels: [car]}}. Seen along the "
            "line, a thing that crosses it from left to right goes `in`, else `out`.")
    mqtt: MqttConfig = MqttConfig()
    commands: CommandsConfig = CommandsConfig()
    page: PageConfig = PageConfig()
    homeassistant: HomeAssistantConfig = HomeAssistantConfig()
    cloud: CloudConfig = CloudConfig()
    fallback: FallbackConfig = FallbackConfig()
    update: UpdateConfig = UpdateConfig()
    governor: GovernorConfig = GovernorConfig()
    health: HealthConfig = HealthConfig()
    collect: CollectConfig = CollectConfig()

    @property
    def event_labels(self) -> tuple[str, ...]:
        """The labels that make events. Empty: all."""
        return self.events.labels or self.detector.allow

    def makes_events(self, label: str) -> bool:
        """Return whether things with this label make events."""
        return not self.event_labels or label in self.event_labels

    def obeys(self, command: CommandName) -> bool:
        """Return whether somebody may send this command: over MQTT, or over the local socket."""
        return command in (*self.commands.allow, *self.page.allow)
