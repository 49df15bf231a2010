"""How a command connects to the broker: with the daemon's configuration and its own client id.

Invariants: the client id of a command has a dot, which no device name may have, so a command never evicts a device;
text from the network is shown only after `printable`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import add_config_argument
from vedette.config.load import load
from vedette.config.models import DEVICE_PATTERN
from vedette.device.identity import known_sockets
from vedette.errors import BrokerAway, BrokerError
from vedette.mqtt.listener import Listener
from vedette.mqtt.terms import Start

if TYPE_CHECKING:
    from vedette.config.models import Config, MqttConfig
    from vedette.mqtt.terms import Terms
    from vedette.serve.local.client import LocalClient

LARGEST_PACKET = 64 * 1024 * 1024
"""Enough for a snapshot of the largest frame."""


def add_broker_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the configuration file and the broker's address."""
    add_config_argument(parser)
    parser.add_argument("--host", help="use this in place of mqtt.host")
    parser.add_argument("--port", type=int, help="use this in place of mqtt.port")


def load_config(args: argparse.Namespace, **overrides: object) -> Config:
    """Return the configuration with `--host`, `--port` and these overrides (`camera__source` is camera.source)."""
    given = {"mqtt.host": args.host, "mqtt.port": args.port,
             **{key.replace("__", "."): value for key, value in overrides.items()}}
    return load(args.config, overrides={key: value for key, value in given.items() if value is not None})


def device_name(text: str) -> str:
    """Return the name of a device that somebody typed; `+` is any device. Raises: ArgumentTypeError."""
    if text != "+" and not re.fullmatch(DEVICE_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected the name of a device, without its topic")
    return text


@contextmanager
def connected(mqtt: MqttConfig, filters: Sequence[str]) -> Iterator[Listener]:
    """Connect and subscribe; the body polls. Raises: BrokerError when the broker is away or refuses."""
    connection = _connect(mqtt, filters)
    try:
        try:
            _wait(connection)
        except BrokerError:
            terms = _less(connection)
            if terms is None:
                raise
            connection.close()
            connection = _connect(mqtt, filters, terms)
            _wait(connection)
        yield connection
    finally:
        connection.close(send_disconnect=True)


def local_daemons(away: BrokerAway, device: str) -> list[LocalClient]:
    """Return the daemons of this machine with this name, where there is no broker. Raises: `away` if none answers."""
    from vedette.serve.local.client import daemons
    found = daemons(known_sockets(os.environ), device)
    if not found:
        raise away
    print(f"vedette: {away}; asking the daemon on this machine", file=sys.stderr)
    return found


def _connect(mqtt: MqttConfig, filters: Sequence[str], terms: Terms | None = None) -> Listener:
    start = None if terms is None else Start(terms)
    return Listener(mqtt, f"vedette.{secrets.token_hex(6)}", start, filters=filters, largest_packet=LARGEST_PACKET)


def _less(connection: Listener) -> Terms | None:
    """Return what to ask of a broker that may not take MQTT 5. None: that was not the reason."""
    if connection.hung_up and not connection.answered and connection.terms.is_v5:
        return replace(connection.terms, is_v5=False)
    return connection.demand


def _wait(connection: Listener) -> None:
    while not connection.connected:
        connection.poll(0.5)


def parsed(payload: bytes) -> Any:
    """Return the JSON value of a payload, or its text when it is not JSON."""
    text = payload.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def printable(line: str) -> str:
    """Return the line with a replacement for each character that a terminal must not show."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
