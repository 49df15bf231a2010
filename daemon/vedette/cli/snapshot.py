"""`vedette snapshot`: one frame as the detector would see it, masks applied, as a JPEG file.

Invariants: the file is whole or not there; every wait ends after `--wait` seconds. With `--device` a running daemon is
asked over MQTT, since a camera has one owner; without, this command opens the camera itself.
"""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.durable import replace_file
from vedette.cli.arguments import between
from vedette.cli.broker import add_broker_arguments, connected, load_config
from vedette.errors import SourceMissing, UsageError
from vedette.messages import topics

if TYPE_CHECKING:
    import argparse

    from vedette.config.models import CameraConfig, MqttConfig
    from vedette.mqtt.command_filter import Incoming

EXAMPLE = """examples:
  vedette snapshot --source street.mp4 --out frame.jpg
  vedette snapshot --host broker.example --device gate-01 --out frame.jpg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_broker_arguments(parser)
    parser.add_argument("--source", help="overrides camera.source")
    parser.add_argument("--device", help="ask this running device, which must allow `snapshot`, instead of the camera")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the JPEG goes")
    parser.add_argument("--wait", type=between(float, 0, 3600), default=10.0, metavar="S",
                        help="seconds to wait for a frame (10)")


def run(args: argparse.Namespace) -> int:
    """Save one frame. Raises: SourceError, BrokerError; UsageError when the file cannot be written."""
    config = load_config(args, camera__source=args.source)
    deadline_s = time.monotonic() + args.wait
    picture = (_ask(config.mqtt, args.device, deadline_s) if args.device
               else _look(config.camera, deadline_s))
    try:
        replace_file(args.out, picture)
    except OSError as failure:
        raise UsageError(f"{args.out}: cannot be written: {failure.strerror}") from failure
    print(f"{args.out}: {len(picture)} bytes")
    return 0


def _look(camera_config: CameraConfig, deadline_s: float) -> bytes:
    from vedette.camera.open import open_camera
    from vedette.vision import jpeg
    camera = open_camera(camera_config)
    try:
        camera.start()
        while (left_s := deadline_s - time.monotonic()) > 0:
            frame = camera.take(min(left_s, 0.5))
            if frame is not None:
                picture = jpeg.encode(frame.pixels)
                camera.release(frame)
                return picture
        status = camera.status()
        raise SourceMissing(f"{status.source}: no frame in time: {status.cause or status.state}")
    finally:
        camera.close()


def _ask(mqtt: MqttConfig, device: str, deadline_s: float) -> bytes:
    transaction = secrets.token_hex(8)
    filters = [topics.absolute(device, name) for name in (topics.SNAPSHOT, f"{topics.REPLIES}/snapshot")]
    picture = b""
    with connected(mqtt, filters) as connection:
        connection.publish(topics.absolute(device, f"{topics.COMMANDS}/snapshot"),
                           json.dumps({"transaction": transaction}).encode(), qos=1)
        while time.monotonic() < deadline_s:
            for incoming in connection.poll(0.5):
                if incoming.topic == filters[0]:
                    picture = incoming.payload
                elif _is_answer(incoming, device, transaction) and picture:
                    return picture
    raise SourceMissing(f"{device}: gave no snapshot in time; is it online at {mqtt.host}:{mqtt.port}?")


def _is_answer(incoming: Incoming, device: str, transaction: str) -> bool:
    """Tell whether this answers our command. Raises: SourceMissing with the device's words when it says no."""
    try:
        answer = json.loads(incoming.payload)
        ours, status, error = answer["transaction"] == transaction, answer["status"], answer["error"]
    except (ValueError, KeyError, TypeError):
        return False
    if ours and status != "ok":
        raise SourceMissing(f"{device}: {status}: {error}")
    return bool(ours)
