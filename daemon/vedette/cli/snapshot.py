"""`vedette snapshot`: saves one frame as the detector gets it, with the masks applied, as a JPEG file.

Invariants: the file is complete or does not exist; every wait ends after `--wait` seconds. With `--device` the command
asks a running daemon over MQTT, because a camera has one owner. Where there is no broker, it asks the one of that name
on this machine, over its local socket. Without `--device` the command opens the camera itself.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.cli.arguments import between, file_path
from vedette.cli.broker import add_broker_arguments, connected, device_name, load_config, local_daemons
from vedette.errors import BrokerAway, DaemonAway, SourceMissing, UsageError
from vedette.messages import topics

if TYPE_CHECKING:
    import argparse

    from vedette.config.models import CameraConfig, MqttConfig
    from vedette.mqtt.command_filter import Incoming

EXAMPLE = """examples:
  vedette snapshot --source street.mp4 --out frame.jpg
  vedette snapshot --host broker.example --device gate-01 --out frame.jpg

exit codes:
   0  The file is written.
  64  The file cannot be written, or the command line is wrong.
  65  The source is neither a video nor an image.
  69  No frame came in time, the device refused, or the broker cannot be used.
  78  The configuration cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_broker_arguments(parser)
    parser.add_argument("--source", help="use this in place of camera.source")
    parser.add_argument("--device", type=device_name,
                        help="ask this running device over MQTT; its commands.allow must list `snapshot`. Without a "
                             "broker, a device of this machine is asked directly; its page.allow must list it")
    parser.add_argument("--out", type=file_path, required=True, metavar="FILE", help="the JPEG file to write")
    parser.add_argument("--wait", type=between(float, 0, 3600), default=10.0, metavar="S",
                        help="seconds to wait for a frame (10)")


def run(args: argparse.Namespace) -> int:
    """Save one frame. Raises: SourceError, BrokerError; UsageError when the file cannot be written."""
    config = load_config(args, camera__source=args.source)
    jpeg = _from_device(config.mqtt, args.device, args.wait) if args.device else frame_of(config.camera, args.wait)
    try:
        replace_file(args.out, jpeg)
    except OSError as failure:
        raise UsageError(f"{args.out}: cannot be written: {failure.strerror}") from failure
    print(f"{args.out}: {len(jpeg)} bytes")
    return 0


def frame_of(camera_config: CameraConfig, wait_s: float) -> bytes:
    """Return one frame of the camera as JPEG, with the masks applied. Raises: SourceError."""
    from vedette.camera.open import open_camera
    from vedette.vision import jpeg
    deadline_s = time.monotonic() + wait_s
    camera = open_camera(camera_config)
    try:
        camera.start()
        while (left_s := deadline_s - time.monotonic()) > 0:
            frame = camera.take(min(left_s, 0.5))
            if frame is not None:
                encoded = jpeg.encode(frame.pixels)
                camera.release(frame)
                return encoded
        status = camera.status()
        raise SourceMissing(f"{status.source}: no frame within {wait_s:g} s (--wait): {status.cause or status.state}")
    finally:
        camera.close()


def _from_device(mqtt: MqttConfig, device: str, wait_s: float) -> bytes:
    deadline_s = time.monotonic() + wait_s
    try:
        return _over_mqtt(mqtt, device, deadline_s)
    except BrokerAway as away:
        client = local_daemons(away, device)[0]
    try:
        return client.snapshot(max(0.0, deadline_s - time.monotonic()))
    except DaemonAway as refusal:
        raise SourceMissing(str(refusal)) from refusal


def _over_mqtt(mqtt: MqttConfig, device: str, deadline_s: float) -> bytes:
    transaction = secrets.token_hex(8)
    filters = [topics.absolute(device, name) for name in (topics.SNAPSHOT, f"{topics.REPLIES}/snapshot")]
    jpeg = b""
    with connected(mqtt, filters) as connection:
        connection.publish(topics.absolute(device, f"{topics.COMMANDS}/snapshot"),
                           json.dumps({"transaction": transaction}).encode(), qos=1)
        while time.monotonic() < deadline_s:
            for incoming in connection.poll(0.5):
                if incoming.topic == filters[0]:
                    jpeg = incoming.payload
                elif _is_reply(incoming, device, transaction) and jpeg:
                    return jpeg
    raise SourceMissing(f"{device}: sent no snapshot in time; is it online at {mqtt.host}:{mqtt.port}?")


def _is_reply(incoming: Incoming, device: str, transaction: str) -> bool:
    """Whether this is the reply to our command. Raises: SourceMissing with the device's message when it refuses."""
    try:
        reply = json.loads(incoming.payload)
        ours, status, error = reply["transaction"] == transaction, reply["status"], reply["error"]
    except (ValueError, KeyError, TypeError):
        return False
    if ours and status != "ok":
        raise SourceMissing(f"{device}: {status}: {error}")
    return bool(ours)
