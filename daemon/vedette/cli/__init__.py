"""The `vedette` command: one module for each of its commands.

Invariants: a command's module is imported only when it is called (a Pi waits for every import); errors raised on
purpose print one line each on standard error and end with their own exit code, never a traceback; so does output that
cannot be written, and a reader that leaves early (`| head -1`) is no error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from vedette import __version__
from vedette._lib.interrupt import EXIT_CODE, leave_in_order
from vedette.errors import OutputLost, UsageError, VedetteError

COMMANDS = {
    "run": ("vedette.cli.run", "watch a camera and publish what is seen"),
    "check-config": ("vedette.cli.check_config", "say what the configuration means, or everything wrong with it"),
    "doctor": ("vedette.cli.doctor", "examine this machine: runtime, camera, broker, clock, board"),
    "detect": ("vedette.cli.detect", "run a model over image files"),
    "bench": ("vedette.cli.bench", "measure a model on this machine"),
    "snapshot": ("vedette.cli.snapshot", "save one frame of the camera as it is seen, masks applied"),
    "serve": ("vedette.cli.serve", "look at pictures over HTTP: the cloud of devices that cannot look themselves"),
    "tail": ("vedette.cli.tail", "follow a device over MQTT"),
    "model inspect": ("vedette.cli.inspect", "say what is in a model file and how it would be run"),
    "model pack": ("vedette.cli.pack", "make a bundle of a model: labels, settings, golden frames"),
    "model verify": ("vedette.cli.verify", "hold a bundle against its digest and its golden frames, on this device"),
    "model eval": ("vedette.cli.eval", "measure a model's accuracy: COCO AP on the drawn street or a COCO folder"),
    "model install": ("vedette.cli.install", "bring a model to this device by hand: proven, then tried"),
    "model activate": ("vedette.cli.activate", "have a model of the store run"),
    "model rollback": ("vedette.cli.rollback", "go back to the model before, until a higher release"),
    "model compare": ("vedette.cli.compare", "show where two models differ on the same frames"),
    "model list": ("vedette.cli.list", "show the models of the store, and what became of others"),
}
COMMANDS |= {f"fleet {name}": (f"vedette.cli.fleet.{name.replace('-', '_')}", summary) for name, summary in {
    "init": "make the keys and the empty repository that a fleet's updates come from",
    "add": "verify a bundle and keep it for a release",
    "release": "sign a bundle for a share of the devices, or change a release",
    "withdraw": "take a release back: devices return to what then matches",
    "renew": "sign anew what would expire",
    "rotate-keys": "give a role new keys, signed for by root",
    "publish": "copy the repository to where devices read it",
    "status": "say what is released to whom, and what expires when",
    "watch": "show every device's model, state, speed and health over MQTT",
}.items()}
ENVIRON = {
    "OPENBLAS_NUM_THREADS": "1",                        # numpy's BLAS is never used; its thread pool costs memory
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(64 * 2**20),      # a small file may unpack to gigabytes
}
"""Read by native libraries when they are loaded; what the user has set stays."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise: UsageError, always."""
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (documented in docs/operations.md)."""
    argv = sys.argv[1:] if argv is None else argv
    _open_streams()
    os.environ.update({name: value for name, value in ENVIRON.items() if name not in os.environ})
    try:
        code = _dispatch(argv)
        sys.stdout.flush()      # Python would do it at its end, where a failure is a traceback
    except VedetteError as error:
        for line in str(error).splitlines():
            print(f"vedette: {line}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        _abandon_output()
        return 0
    except OSError as error:    # adapters map their own: what is left is the terminal, the disk, the descriptor table
        _abandon_output()
        print(f"vedette: {error}", file=sys.stderr)
        return OutputLost.exit_code
    except KeyboardInterrupt:
        return EXIT_CODE
    return code


def _open_streams() -> None:
    """Open the standard streams that the caller has closed, or the first sockets would take their places."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as we live
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above


def _abandon_output() -> None:
    """Let what is still buffered go nowhere, or Python complains again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(argv: list[str]) -> int:
    name, rest = _command(argv)
    if name is None:
        return _overview(rest)
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = Parser(prog=f"vedette {name}", description=summary[0].upper() + summary[1:] + ".",
                    epilog=module.EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    args = parser.parse_intermixed_args(rest)
    if name != "run":       # which takes the signals itself, and before that leaves nothing behind
        leave_in_order()
    return int(module.run(args))


def _command(argv: list[str]) -> tuple[str | None, list[str]]:
    for length in (2, 1):
        name = " ".join(argv[:length])
        if name in COMMANDS:
            return name, argv[length:]
    return None, argv


def _overview(argv: list[str]) -> int:
    parser = Parser(prog="vedette", description="Watch a camera with an INT8 detector and tell over MQTT what it saw.",
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog="commands:\n" + "\n".join(f"  {name:17} {text}" for name, (_, text) in COMMANDS.items()))
    parser.add_argument("--version", action="version", version=f"vedette {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    known, _ = parser.parse_known_args(argv)
    if known.command:
        raise UsageError(f"vedette: unknown command {known.command!r}; expected one of {', '.join(COMMANDS)}")
    parser.print_help()
    return UsageError.exit_code
