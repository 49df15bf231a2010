"""What the commands of `vedette fleet` ask the broker about devices, and what they say may be missing.

Invariants: never silently incomplete: what the broker refused or did not send is said on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vedette.cli.arguments import between
from vedette.cli.broker import add_broker_arguments, connected, load_config, parsed, printable
from vedette.fleet.gathering import Gathering
from vedette.fleet.outcomes import expected_of
from vedette.fleet.roster import DEVICES_MAX, FOLLOWED, Roster, Row, devices, some

if TYPE_CHECKING:
    import argparse

    from vedette.store.release import Target

WAIT_MAX_S = 60.0
"""So much longer than asked for, a command waits for what the broker is still sending."""
NAMED_MAX = 5


def add_known_devices_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the broker, and how long it is listened to."""
    add_broker_arguments(parser)
    parser.add_argument("--once", type=between(float, 0.1, 3600), default=3.0, metavar="SECONDS",
                        help="listen to the broker for SECONDS (3)")


def add_silence_argument(parser: argparse.ArgumentParser) -> None:
    """Declare after how many minutes a device is silent."""
    parser.add_argument("--silent-after", type=between(float, 0.1, 1e6), default=15.0, metavar="MINUTES",
                        help="count an online device as silent if its health is older (15)")


@dataclass(frozen=True, slots=True)
class Matching:
    """How many devices the broker knows, how many are to run a release, and how many do not say what they take."""

    devices: int
    matching: int
    without_receiver: int

    @classmethod
    def of(cls, rows: Sequence[Row] | None, target: Target, targets: Sequence[Target]) -> Self | None:
        """Count the devices for a release beside `targets`. None: no broker was asked."""
        if rows is None:
            return None
        return cls(len(rows), len(expected_of(rows, target, targets)), unknown_receivers(rows))

    def __str__(self) -> str:
        return f"known devices: {self.devices}, of which {self.matching} match{unsaid(self.without_receiver)}"


def unknown_receivers(rows: Iterable[Row]) -> int:
    """Return how many devices do not say which releases they take."""
    return sum(row.receiver is None for row in rows)


def unsaid(count: int) -> str:
    """Return the end of a sentence about devices that do not say what they take; '' without any."""
    return f"; {count} do not say which releases they take" if count else ""


def known_devices(args: argparse.Namespace) -> list[Row] | None:
    """Return every device that the broker knows. None: the command line names no broker. Raises: BrokerError."""
    if args.config is None and args.host is None and args.port is None:
        return None
    roster = Roster()
    with connected(load_config(args).mqtt, ()) as connection:
        gathering = Gathering(connection, roster, parsed)
        gather(gathering, args.once)
        print_missing(roster, connection.refused_filters, is_complete=gathering.is_complete)
    return roster.rows()


def gather(gathering: Gathering, seconds: float) -> None:
    """Listen for some seconds, and up to `WAIT_MAX_S` longer while the broker is sending. Raises: BrokerError."""
    gathering.listen(seconds)
    gathering.finish(WAIT_MAX_S)


def print_missing(roster: Roster, refused: tuple[str, ...], *, is_complete: bool) -> None:
    """Say on standard error what may be missing."""
    for line in _missing(roster, refused, is_complete=is_complete):
        print(f"vedette: {line}", file=sys.stderr)


def _missing(roster: Roster, refused: tuple[str, ...], *, is_complete: bool) -> Iterator[str]:
    if not is_complete:
        yield f"the broker has not sent everything after {WAIT_MAX_S:g} more seconds: the counts are too low"
    if refused:
        yield f"the broker refuses the subscription to {', '.join(refused)}: see its access rules"
    if roster.is_full:
        yield f"there may be more devices than {DEVICES_MAX}: the others are not counted"
    expected = len(roster)
    for topic in FOLLOWED:
        if lacking := roster.lacking(topic):
            yield printable(f"{topic} was expected of {devices(expected)}, and came from "
                            f"{expected - len(lacking)}; missing: {some(lacking, NAMED_MAX)}")
