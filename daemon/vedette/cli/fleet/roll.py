"""`vedette fleet roll`: releases a bundle step by step, watches the devices, and goes on or stops by itself.

Invariants: nothing is signed before it is known how many devices each step has, and that some can report; the same
command again continues a rollout that is not over, and begins no second one of the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import sys
import time
from bisect import bisect_left
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from pydantic import ValidationError

from vedette._lib.durable import replace_file
from vedette.cli.arguments import between, file_path
from vedette.cli.broker import add_broker_arguments, connected, load_config, parsed, printable
from vedette.cli.fleet.arguments import (
    add_audience_arguments,
    add_fleet_argument,
    add_key_arguments,
    audience_of,
    keys_of,
    opened,
)
from vedette.cli.fleet.known_devices import Matching
from vedette.cli.fleet.signing import bundle_named, parts_of
from vedette.errors import FleetError, UsageError
from vedette.fleet.folder import READABLE
from vedette.fleet.outcomes import expected_of
from vedette.fleet.roll_desk import RollDesk
from vedette.fleet.roll_metrics import metrics
from vedette.fleet.roll_view import NAMED_MAX, RollView, named
from vedette.fleet.roller import TICK_MAX_S, Ears, Roller, described_step, gathered
from vedette.fleet.rollout import Plan, RolloutState, next_step
from vedette.fleet.rolls import Order, RollRecord, led, log_line, newest_of, read, write_log
from vedette.fleet.roster import devices, some
from vedette.store.release import BUCKETS, ShadowRequirement, TrialRequirement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vedette.fleet.keys import KeyFolder
    from vedette.fleet.outcomes import Tally
    from vedette.fleet.roster import Row
    from vedette.fleet.settings import Bundle

EXAMPLE = """examples:
  vedette fleet roll fleet street:4 www --host broker.example
  vedette fleet roll fleet street:4 www --host broker.example --steps 1,10,50,100 --soak 2h --max-failed 3% --min 20
  vedette fleet roll fleet street:4 www --config operator.yaml --approve --on-stop narrow

Each step reaches a share of the known devices. It goes on when its soak is over and enough devices are good. It stops
when too many fail or fall silent. Until the halt test accepts the release, a step has at most twice the devices of the
one before. The same command continues after a kill. The guide docs/fleet.md explains the rules.
times: 90s, 15m, 2h, 3d

exit codes:
   0  The release has reached its last step.
  64  The command line is wrong.
  65  The rollout has stopped, somebody changed the release by hand, or nothing could be begun.
  69  A key, a folder or the broker cannot be used.
  78  The configuration cannot be used."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
METRICS_EVERY_S = 60.0
_TICKS_OF_A_SOAK = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_fleet_argument(parser)
    parser.add_argument("bundle", metavar="BUNDLE",
                        help="a bundle that was added: NAME:VERSION, NAME (its newest version), a digest, or the file")
    parser.add_argument("destination", type=file_path, metavar="DEST", help="folder that devices read, as of `publish`")
    parser.add_argument("--steps", type=_steps, default=_steps("1,10,50,100"), metavar="P,…",
                        help="shares of the devices in percent (1,10,50,100)")
    parser.add_argument("--soak", type=_duration, default=7200.0, metavar="TIME",
                        help="how long each step is watched at least (2h)")
    parser.add_argument("--max-failed", type=_share, default=0.03, metavar="SHARE",
                        help="share of the devices that may fail or fall silent (3%%)")
    parser.add_argument("--min", dest="min_good", type=between(int, 1, 10**6), default=20, metavar="N",
                        help="so many devices must be good; of fewer, all of them (20)")
    parser.add_argument("--silent-after", type=_duration, default=900.0, metavar="TIME",
                        help="a device from which nothing new has come for so long counts as failed (15m)")
    parser.add_argument("--within", type=_duration, default=86400.0, metavar="TIME",
                        help="stop if a step has too few good devices after so long (24h)")
    parser.add_argument("--approve", action="store_true", help="wait for a yes between steps, see `approve`")
    parser.add_argument("--on-stop", choices=("withdraw", "narrow"), default="withdraw",
                        help="withdraw the release, or narrow it to the last step that passed (withdraw)")
    add_audience_arguments(parser, buckets=False)
    parser.add_argument("--variant", metavar="V", help="name of the variant; every result contains it")
    parser.add_argument("--shadow", type=parts_of(ShadowRequirement), metavar="K=V,…",
                        help="before the trial, compare the model with the active one in the background")
    parser.add_argument("--trial", type=parts_of(TrialRequirement), metavar="K=V,…",
                        help="conditions that the model must meet in its trial")
    parser.add_argument("--devices", type=file_path, metavar="FILE",
                        help="only these devices count, one name a line (default: those that the broker knows)")
    parser.add_argument("--again", action="store_true", help="begin anew, although a rollout of this bundle is over")
    add_key_arguments(parser)
    add_broker_arguments(parser)
    parser.add_argument("--metrics", type=file_path, metavar="FILE",
                        help="keep the counts in FILE, for the textfile collector of node_exporter")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line: decisions and counts")


def run(args: argparse.Namespace) -> int:
    """Lead it to its end. Raises: UsageError, FleetError, KeyUnusable, StateUnusable, BrokerError, ConfigError."""
    tick_s = min(TICK_MAX_S, max(0.1, args.soak / _TICKS_OF_A_SOAK))
    ears = Ears(partial(connected, load_config(args).mqtt, ()), parsed, tick_s)
    with opened(args) as repository:
        keys = keys_of(args, repository)
        bundle = bundle_named(args.bundle, repository.settings)
    order = _order(args, bundle)
    audience = Audience(args)
    record = newest_of(args.folder, order)
    if record is not None and record.is_over and not args.again:
        state = record.state
        audience.said(log_line(record.number, _utc_now(), f"{state.phase}: {state.words}. --again begins anew"))
        return _code(record)
    if record is None or record.is_over:
        record = _begun(args, order, bundle, keys, ears, audience)
    elif record.order != order:
        raise UsageError(f"release {record.number} of this bundle is being rolled out with other options: "
                         f"{record.order.terms}, {record.order.plan}, to {record.order.destination}. Repeat them, or "
                         f"withdraw release {record.number}")
    with led(args.folder, record.number):
        record = read(args.folder, record.number) or record
        desk = RollDesk(args.folder, keys, record, _utc_now)
        view = RollView(record.target, record.devices, record.left_out, order.plan.silent_after_s)
        Roller(desk, view, ears, audience).run()
    return _code(desk.record)


def _begun(args: argparse.Namespace, order: Order, bundle: Bundle, keys: KeyFolder, ears: Ears,
           audience: Audience) -> RollRecord:
    """Sign the first step. Raises: FleetError, also if no device can report; KeyUnusable, BrokerError."""
    with ears.connect() as connection:
        _, roster = gathered(connection, parsed)
    rows = _known(args, roster.rows())
    with opened(args) as repository:
        target = repository.planned(bundle, None, {**order.terms, **audience_of(args, repository, is_new=True)})
        matching = expected_of(rows, target, repository.targets)
        known = Matching.of(rows, target, repository.targets)
    view = RollView(target, [row.device for row in matching], {}, order.plan.silent_after_s)
    view.begin({row.device: row for row in matching}, 0)
    now, after = _utc_now(), timedelta(seconds=order.plan.silent_after_s)
    unfit = {row.device: "silent" for row in matching if row.is_silent(now, after)} | view.unfit(0, BUCKETS, 0)
    first = next_step(RolloutState(release=target.release.release), order.plan, view.buckets, 0, view.fit(unfit))
    if first is None or not view.fit(unfit):
        raise FleetError(f"{known}. {named(unfit) or 'None'}: no device can report how the release does, so nothing is "
                         "signed. Are the broker and this machine's clock right?")
    left_out = view.among(unfit, first.end)
    audience.announced([str(known), *_reach(order.plan, view), *([f"not expected: {named(unfit)}"] if unfit else [])])
    record = RollDesk.begin(args.folder, keys, bundle, target.release, order, first, devices=view.devices,
                            left_out=left_out, utc_now=_utc_now).record
    line = log_line(record.number, _utc_now(),
                    f"begins with {target.release.name} {target.release.version}: {order.plan}. "
                    f"Step 1: {described_step(first, left_out, accepted=False)}")
    write_log(args.folder, record.number, line)
    audience.said(line)
    return record


def _order(args: argparse.Namespace, bundle: Bundle) -> Order:
    try:
        plan = Plan(steps=args.steps, soak_s=args.soak, max_failed=args.max_failed, min_good=args.min_good,
                    silent_after_s=args.silent_after, within_s=args.within, approve=args.approve, on_stop=args.on_stop)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])) from error
    given = {key: value for key in ("channel", "device_classes", "tags", "salt", "variant", "shadow", "trial")
             if (value := getattr(args, key)) is not None}
    return Order(sha256=bundle.sha256, terms=json.loads(json.dumps(given)), plan=plan,
                 destination=str(args.destination.absolute()))


def _known(args: argparse.Namespace, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the devices that count. Raises: UsageError."""
    if args.devices is None:
        return rows
    try:
        names = set(args.devices.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{args.devices}: expected names of devices, one a line: {error}") from error
    unheard = sorted(names - {row.device for row in rows})
    if unheard:
        print(printable(f"vedette: {len(unheard)} of {len(names)} devices have published nothing and do not count: "
                        f"{some(unheard, NAMED_MAX)}"),
              file=sys.stderr)
    return [row for row in rows if row.device in names]


def _reach(plan: Plan, view: RollView) -> list[str]:
    return [f"  {share / BUCKETS:7.2%}: {devices(bisect_left(view.buckets, end))}"
            for share, end in zip(plan.steps, plan.ends(view.buckets), strict=True)]


def _code(record: RollRecord) -> int:
    return 0 if record.state.phase == "done" else FleetError.exit_code


class Audience:
    """Prints decisions as lines and, on a terminal, the newest counts in the last line. It reads a typed yes."""

    def __init__(self, args: argparse.Namespace, now_s: Callable[[], float] = time.monotonic) -> None:
        self._as_json = args.json
        self._now_s = now_s
        self._metrics: Path | None = args.metrics
        self._is_drawn = sys.stdout.isatty() and not args.json
        self._shown = ""
        self._written: str | None = ""
        """The metrics as they were written last; None: they could not be."""
        self._write_again_s = 0.0

    def announced(self, lines: Sequence[str]) -> None:
        """Print what is known before anything is signed."""
        for line in lines:
            self._print(json.dumps({"known": line}) if self._as_json else printable(line))

    def said(self, line: str) -> None:
        """Print a line of the log."""
        self._print(json.dumps({"log": line}) if self._as_json else line)
        self._shown = "" if self._is_drawn else self._shown

    def counted(self, record: RollRecord, tally: Tally, words: str) -> None:
        """Show the counts, if they are others than before, and write the metrics."""
        self._write(metrics(record, tally))
        state = record.state
        if self._as_json:
            shown = json.dumps({"release": record.number, "state": state.phase, "step": state.step,
                                "share": state.end / BUCKETS, **asdict(tally)})
            if shown != self._shown:
                self._print(shown)
                self._shown = shown
        elif self._is_drawn:
            line = printable(f"step {state.step} ({state.end / BUCKETS:.2%}) {state.phase}: {words}")
            line = line[:shutil.get_terminal_size().columns - 1]
            if line != self._shown:
                self._shown = line
                self._print(f"\r\x1b[K{line}", end="")

    def says_yes(self) -> bool:
        """Return whether somebody has typed a yes at the terminal."""
        if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
            return False
        return os.read(sys.stdin.fileno(), 100).decode(errors="replace").strip().lower() in {"y", "yes"}

    def _print(self, line: str, *, end: str = "\n") -> None:
        """Print, if anybody reads it: a reader that leaves must not end the rollout."""
        try:
            print(f"\r\x1b[K{line}" if self._is_drawn and self._shown and end else line, end=end, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _write(self, content: str) -> None:
        """Replace the file of metrics. Its age shows whether anybody watches, so it is written again without a change.

        A disk that is full must not keep the rollout from stopping.
        """
        if self._metrics is None or (content == self._written and self._now_s() < self._write_again_s):
            return
        self._write_again_s = self._now_s() + METRICS_EVERY_S
        try:
            replace_file(self._metrics, content.encode(), READABLE)
            self._written = content
        except OSError as error:
            if self._written is not None:
                print(f"vedette: {error.filename}: {error.strerror}", file=sys.stderr)
            self._written = None


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _steps(text: str) -> tuple[int, ...]:
    """Return shares of the devices, in ten-thousandths."""
    try:
        shares = [float(part) for part in text.removesuffix("%").split(",")]
    except ValueError:
        shares = [0.0]
    steps = tuple(round(share * BUCKETS / 100) for share in shares if 0 < share <= 100)
    if len(steps) < len(shares) or steps[0] < 1 or list(steps) != sorted(set(steps)):
        raise argparse.ArgumentTypeError(f"{text!r}; expected growing percentages up to 100, such as 1,10,50,100")
    return steps


def _duration(text: str) -> float:
    """Return seconds."""
    try:
        seconds = float(text[:-1]) * _UNITS[text[-1:]]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 <= seconds <= 366 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a time such as 90s, 15m, 2h or 3d")
    return seconds


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a percentage above 0 and below 100, such as 3%")
    return share
