"""`vedette fleet watch`: shows the model, state, speed and health of every device as they change.

Invariants: the output has only printable characters of what comes from the network; on a terminal the table is drawn
at most once a second; elsewhere each change is one line.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from vedette.cli.arguments import between
from vedette.cli.broker import add_broker_arguments, connected, load_config, parsed, printable
from vedette.fleet.roster import FOLLOWED, Roster, Row
from vedette.messages import topics

if TYPE_CHECKING:
    import argparse

    from vedette.mqtt.connection import Connection

EXAMPLE = """examples:
  vedette fleet watch --host broker.example
  vedette fleet watch --config operator.yaml --once 5 --json | jq -r 'select(.state == "trial").device'

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


def run(args: argparse.Namespace) -> int:
    """Print until interrupted. Raises: BrokerError when the connection cannot be made or ends."""
    filters = [topics.absolute("+", topic) for topic in FOLLOWED]
    roster = Roster()
    with connected(load_config(args).mqtt, filters) as connection:
        if args.once is not None:
            _listen(connection, roster, args.once)
            print(*(map(_json, roster.rows()) if args.json else _table(roster)), sep="\n")
        elif sys.stdout.isatty() and not args.json:
            while True:
                _listen(connection, roster, REDRAW_S)
                columns, lines = shutil.get_terminal_size()
                table = [line[:columns] for line in _table(roster)]
                print("\x1b[H\x1b[2J", "\n".join(table[:lines - 1]), sep="", flush=True)
        else:
            while True:
                for row in _listen(connection, roster, REDRAW_S):
                    now = datetime.now().astimezone()
                    print(_json(row) if args.json else f"{now:%H:%M:%S}  {_line(row)}", flush=True)
    return 0


def _listen(connection: Connection, roster: Roster, seconds: float) -> list[Row]:
    """Receive messages for some seconds and return the rows that have changed."""
    changed: dict[str, Row] = {}
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        for incoming in connection.poll(left_s):
            row = roster.update(incoming.topic, parsed(incoming.payload))
            if row is not None:
                changed[row.device] = row
    return [*changed.values()]


def _table(roster: Roster) -> list[str]:
    return [printable(roster.summary()), _HEAD, *map(_line, roster.rows())]


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
