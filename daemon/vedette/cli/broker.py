"""The broker as commands use it: the same configuration as the daemon's, a client id of its own.

Invariants: an id of a command holds a dot, which no device name may, so that it never evicts a device; what comes from
the network is shown only after `printable`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.config.load import load
from vedette.mqtt.connection import Connection

if TYPE_CHECKING:
    import argparse

    from vedette.config.models import Config, MqttConfig

LARGEST_PACKET = 64 * 1024 * 1024
"""A snapshot of the largest frame."""


def add_broker_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the broker is."""
    parser.add_argument("--config", type=Path, metavar="F", help="configuration file (default: built-in defaults)")
    parser.add_argument("--host", help="overrides mqtt.host")
    parser.add_argument("--port", type=int, help="overrides mqtt.port")


def load_config(args: argparse.Namespace, **overrides: object) -> Config:
    """Return the configuration with `--host`, `--port` and these overrides (dots as double underscores)."""
    given = {"mqtt.host": args.host, "mqtt.port": args.port,
             **{key.replace("__", "."): value for key, value in overrides.items()}}
    return load(args.config, overrides={key: value for key, value in given.items() if value is not None})


@contextmanager
def connected(mqtt: MqttConfig, filters: Sequence[str]) -> Iterator[Connection]:
    """Connect and subscribe; the body polls. Raises: BrokerError when the broker is away or says no."""
    connection = Connection(mqtt, f"vedette.{secrets.token_hex(6)}", filters=filters, largest_packet=LARGEST_PACKET)
    try:
        while not connection.connected:
            connection.poll(0.5)
        yield connection
    finally:
        connection.close(with_goodbye=True)


def parsed(payload: bytes) -> Any:
    """Return what a payload says: JSON where it is some, else its text."""
    text = payload.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def printable(line: str) -> str:
    """Return a line that a terminal may show."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
