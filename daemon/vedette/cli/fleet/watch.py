"""`vedette fleet watch`: shows the model, state, speed and health of every device as they change.

Invariants: the output has only printable characters of what comes from the network; on a terminal the table is drawn
at most once a second; elsewhere each change is one line; if devices or messages may be missing, standard error says so.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.broker import add_broker_arguments, connected, load_config, parsed, printable
from vedette.cli.fleet.known_devices import add_silence_argument, gather, print_missing
from vedette.fleet.gathering import Gathering
from vedette.fleet.roster import FOLLOWED, Roster, Row, devices

if TYPE_CHECKING:
    import argparse

EXAMPLE = """examples:
  vedette fleet watch --host broker.example
  vedette fleet watch --config operator.yaml --once 5 --json | jq -r 'select(.state == "trial").device'
  vedette fleet watch --host broker.example --once --summary --json | jq .failed

exit codes:
   0  The table of --once is printed, or nobody reads the output any more.
  69  The broker cannot be used.
  78  The configuration cannot be used."""

REDRAW_S = 1.0
_HEAD = f"{'DEVICE':<28} {'ONLINE':<7} {'MODEL':<24} {'RELEASE':>7} {'STATE':<12} {'FPS':>5} {'MS':>6}  HEALTH"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_broker_arguments(parser)
    parser.add_argument("--once", type=between(float, 0.1, 3600), nargs="?", const=3.0, metavar="SECONDS",
                        help="listen for SECONDS (3), print the table, and end")
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object per line: a device whose values have changed")
    parser.add_argument("--summary", action="store_true",
                        help="print only counts, whenever they change; with --json one object")
    add_silence_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print until interrupted. Raises: BrokerError when the connection cannot be made or ends."""
    with connected(load_config(args).mqtt, ()) as connection:
        view = _View(Roster(), timedelta(minutes=args.silent_after), as_json=args.json)
        gathering = Gathering(connection, view.roster, parsed)
        if args.once is not None:
            gather(gathering, args.once)
            print(*(view.summary() if args.summary else view.table()), sep="\n")
            print_missing(view.roster, connection.refused_filters, is_complete=gathering.is_complete)
        else:
            _follow(gathering, view, only_summary=args.summary)
    return 0


def _follow(gathering: Gathering, view: _View, *, only_summary: bool) -> None:
    shown: list[str] = []
    while True:
        rows = gathering.listen(REDRAW_S)
        if sys.stdout.isatty() and not view.as_json:
            columns, lines = shutil.get_terminal_size()
            text = view.summary() if only_summary else view.table(lines - 1)
            print("\x1b[H\x1b[2J", "\n".join(line[:columns] for line in text[:lines - 1]), sep="", flush=True)
        elif only_summary:
            if gathering.is_complete and (summary := view.summary()) != shown:
                shown = summary
                print(*summary, sep="\n", flush=True)
        else:
            now = datetime.now().astimezone()
            for row in rows:
                print(_json(row) if view.as_json else f"{now:%H:%M:%S}  {_line(row)}", flush=True)


class _View:
    """What is shown of a roster, as lines."""

    def __init__(self, roster: Roster, silent_after: timedelta, *, as_json: bool) -> None:
        self.roster = roster
        self.as_json = as_json
        self._silent_after = silent_after

    def table(self, lines: int | None = None) -> list[str]:
        """Return a line for each device; if they are more than `lines`, those with problems come first."""
        rows = self.roster.rows()
        if self.as_json:
            return [*map(_json, rows)]
        top = [printable(self.roster.summary()), *self._problems(), _HEAD]
        if lines is not None and len(rows) + len(top) > lines:
            rows.sort(key=self._urgency)
        return [*top, *map(_line, rows)]

    def summary(self) -> list[str]:
        """Return the counts: one JSON object, or a line for each kind of count."""
        counted = self.roster.counted(datetime.now(UTC), self._silent_after)
        if self.as_json:
            return [json.dumps(asdict(counted))]
        heard = ", ".join(f"{topic} {counted.devices - len(self.roster.lacking(topic))}" for topic in FOLLOWED)
        return [f"{devices(counted.devices)}, {counted.online} online",
                *_counts("models", counted.models), *_counts("states", counted.states), *self._problems(),
                *_counts("reasons", self.roster.reasons()), f"heard    {heard}, of {counted.devices} expected"]

    def _urgency(self, row: Row) -> tuple[bool, bool]:
        """Return the key by which devices that failed come first, then silent ones."""
        return row.failure is None, not row.is_silent(datetime.now(UTC), self._silent_after)

    def _problems(self) -> Iterator[str]:
        now = datetime.now(UTC)
        counted = self.roster.counted(now, self._silent_after)
        yield from _counts("failed", counted.failed)
        if counted.silent:
            longest = self.roster.longest_silent(now, self._silent_after)
            since = f"; longest: {longest.device}, its last health is of {longest.health_at}" if longest else ""
            yield printable(f"silent   {counted.silent}{since}")


def _counts(name: str, counts: dict[str, int]) -> Iterator[str]:
    if counts:
        yield printable(f"{name:<8} " + ", ".join(f"{kind}: {count}" for kind, count in counts.items()))


def _line(row: Row) -> str:
    online = {True: "online", False: "offline", None: "-"}[row.online]
    model = " ".join(filter(None, (row.model, row.version, row.variant and f"[{row.variant}]"))) or "-"
    state = f"{row.state or '-'}{f' {row.percentage:.0f}%' if row.percentage is not None else ''}"
    fps, invoke = (f"{figure:.1f}" if figure is not None else "-" for figure in (row.fps, row.invoke_ms))
    health = f"{row.health or '-'} {', '.join(row.reasons)}".rstrip()
    return printable(f"{row.device:<28} {online:<7} {model:<24} {row.release or '-':>7} {state:<12} {fps:>5} "
                     f"{invoke:>6}  {health}")


def _json(row: Row) -> str:
    return json.dumps(asdict(row))
