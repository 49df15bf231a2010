"""How `model install`, `activate` and `rollback` work: they send the daemon a request, or act alone if no daemon runs.

Invariants: the state folder's lock is held only while the state changes, never while a model is probed; every file
that is written belongs to the state folder's owner, also when root runs the command; every end has its exit code.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.cli.arguments import between, file_path
from vedette.device.identity import CONFIGURATION, SYSTEM_STATE, become_owner, installed_state_path
from vedette.errors import VedetteError

if TYPE_CHECKING:
    import argparse

    from vedette.config.models import Config
    from vedette.store.inbox import Request
    from vedette.store.incoming import Received
    from vedette.store.model_store import ModelStore
    from vedette.store.state import Installed, StoreState
    from vedette.update.operator import OperatorActions
    from vedette.validate.candidate import ProbeReport

EXIT_CODES = """exit codes:
   0  The request is done.
  64  The command line is wrong.
  65  The request is refused, with the cause. Nothing has changed.
  69  The daemon did not answer in time, or the state folder or the runtime cannot be used.
  78  The configuration cannot be used."""


def add_arguments(parser: argparse.ArgumentParser, wait_s: float) -> None:
    """Declare the arguments that these commands share."""
    parser.add_argument("--wait", type=between(float, 0.1, 86400.0), default=wait_s, metavar="S",
                        help="seconds to wait for the daemon's answer (%(default)g)")
    parser.add_argument("--state", type=file_path, metavar="DIR",
                        help="state folder (default: that of the installed daemon, else that of the user)")
    parser.add_argument("--config", type=file_path, metavar="F",
                        help="configuration file, read if no daemon runs (default: that of the installed daemon)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


class OperatorCommand:
    """One command of an operator in one state folder. Open the caller's files, then call `take_rights`, then this."""

    def __init__(self, args: argparse.Namespace) -> None:
        from vedette.store.inbox import MODELS, RequestClient
        from vedette.store.model_store import ModelStore
        self.state = (args.state or installed_state_path(os.environ)).absolute()
        self.store: ModelStore = ModelStore(self.state / MODELS)
        self._args = args
        self._client = RequestClient(self.state)
        self._reports: dict[str, ProbeReport] = {}

    def run(self, request: Request, received: Received | None = None) -> int:
        """Do the request, print the outcome, return the exit code. Raises: VedetteError, unless `--json` is given."""
        try:
            ok, message, code, state = self._request(request, received)
        except VedetteError as error:
            return self.refuse(error)
        return self._print(ok, message, code, state)

    def refuse(self, error: VedetteError) -> int:
        """Print why the request is refused, return the exit code. Raises: `error` itself, unless `--json` is given."""
        if not self._args.json:
            raise error
        return self._print(False, str(error), error.exit_code, self.store.read())

    def _print(self, ok: bool, message: str, code: int, state: StoreState) -> int:
        if self._args.json:
            print(json.dumps({"ok": ok, "words": message, **_models(state)}))
        else:
            print(message if ok else f"vedette: {message}", file=sys.stdout if ok else sys.stderr)
        return code

    def _request(self, request: Request, received: Received | None) -> tuple[bool, str, int, StoreState]:
        from vedette.store.inbox import Response
        outcome = self._client.send(request, self._args.wait)
        if not isinstance(outcome, Response):
            outcome.close()     # a probe takes long, and the daemon may start meanwhile
            self._prove_first(request, received)
            outcome = self._client.send(request, self._args.wait)
        if isinstance(outcome, Response):
            return outcome.ok, outcome.words, outcome.exit_code, outcome.state or self.store.read()
        with closing(outcome):
            self.store.recover()
            message = _act(self._actions, request, received)
        return True, f"{message}; no daemon runs, so it takes effect at the next start", 0, self.store.state

    def _prove_first(self, request: Request, received: Received | None) -> None:
        """Probe the model if it has never been proven on this device."""
        candidate = self.store.read().candidate
        if received is not None:
            self._actions.admit(received.sha256, force=request.force)
            self._prove(self.store.locate(received.path, received.sha256), received.sha256)
        elif candidate is not None and candidate.sha256 == request.sha256:
            self._prove(self.store.verified(candidate.sha256), candidate.sha256)

    @property
    def _actions(self) -> OperatorActions:
        from vedette.device.board import Board
        from vedette.update.offline import offline_actions
        return offline_actions(self.store, self._config, prove=self._prove, utc_now=partial(datetime.now, UTC),
                          clock_synced=bool(Board(self.state).clock_synced()))

    @property
    def _config(self) -> Config:
        from vedette.config.load import load
        path = self._args.config or installed_configuration(self.state)
        return load(path if path is not None and (self._args.config or path.exists()) else None)

    def _prove(self, path: Path, sha256: str) -> ProbeReport:
        from vedette.errors import ModelTimedOut
        from vedette.update.prove import Candidates
        from vedette.vision.model_child import TIMEOUT_S
        candidates = Candidates(self._config)

        def probe(_: float) -> ProbeReport:
            with candidates.open(path, sha256) as candidate:
                return candidates.probe(candidate)
        if sha256 not in self._reports:
            self._reports[sha256] = candidates.patience(sha256).until_success(TIMEOUT_S, probe, ModelTimedOut)
        return self._reports[sha256]


def take_rights(args: argparse.Namespace) -> None:
    """Become the state folder's owner. Raises: StateUnusable."""
    become_owner((args.state or installed_state_path(os.environ)).absolute())


def installed_configuration(state: Path) -> Path | None:
    """Return the configuration file of the shipped unit that has this state folder, or None if none has."""
    if state == SYSTEM_STATE:
        return CONFIGURATION / "config.yaml"
    instance = state.name.removeprefix(f"{SYSTEM_STATE.name}-")
    return CONFIGURATION / f"{instance}.yaml" if state == Path(f"{SYSTEM_STATE}-{instance}") else None


def _act(actions: OperatorActions, request: Request, received: Received | None) -> str:
    if received is not None:
        return actions.install(received.path, received.sha256, force=request.force, note=request.id)
    if request.sha256 is not None:
        return actions.activate(request.sha256, force=request.force, note=request.id)
    return actions.roll_back(note=request.id)


def _models(state: StoreState) -> dict[str, Any]:
    return {part: _model(getattr(state, part)) for part in ("active", "previous", "candidate")} | {
        "on_trial": state.trial is not None}


def _model(model: Installed | None) -> dict[str, Any] | None:
    return None if model is None else {
        "sha256": model.sha256, "name": model.name, "version": model.version, "release": model.release}
