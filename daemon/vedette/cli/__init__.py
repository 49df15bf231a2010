"""The `vedette` command: one module for each of its commands.

Invariants: a command's module is imported only when it is called, because imports are slow on a Pi; errors raised on
purpose print one line each on standard error and end with their own exit code, never with a traceback; the same holds
when output cannot be written; a reader that leaves early (`| head -1`) is no error.
"""

from __future__ import annotations

import argparse
import codecs
import importlib
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from vedette import __version__
from vedette._lib.interrupt import EXIT_CODE, leave_in_order
from vedette.errors import OutputLost, UsageError, VedetteError

if TYPE_CHECKING:
    from types import ModuleType

COMMANDS = {
    "init": ("vedette.cli.init", "write units, user, configuration and docs of the service, or remove them"),
    "run": ("vedette.cli.run", "watch a camera and publish detections"),
    "check-config": ("vedette.cli.check_config", "print the effective configuration, or every problem in it"),
    "config apply": ("vedette.cli.config.apply", "put keys of a file into the configuration, checked as a whole"),
    "doctor": ("vedette.cli.doctor", "check this machine: runtime, model, camera, broker, disk, clock, board"),
    "detect": ("vedette.cli.detect", "run a model on image files"),
    "bench": ("vedette.cli.bench", "measure how fast a model runs on this machine"),
    "snapshot": ("vedette.cli.snapshot", "save one frame of the camera, with the masks applied"),
    "camera list": ("vedette.cli.camera.list", "list the cameras of this machine, with a line for the configuration"),
    "serve": ("vedette.cli.serve", "detect over HTTP, for devices whose own model cannot run or is too slow"),
    "tail": ("vedette.cli.tail", "print the messages of devices as they arrive over MQTT"),
    "page": ("vedette.cli.page", "show daemons of this machine in a browser, and answer Prometheus"),
    "model inspect": ("vedette.cli.model.inspect", "show what is in a model file and how Vedette would run it"),
    "model quantize": ("vedette.cli.model.quantize", "make an INT8 bundle of a float model, calibrated with pictures"),
    "model pack": ("vedette.cli.model.pack", "make a bundle from a model: labels, settings, golden frames"),
    "model verify": ("vedette.cli.model.verify", "check the digest and the golden frames of a bundle on this device"),
    "model eval": ("vedette.cli.model.eval", "measure the accuracy of a model: COCO AP on drawn or COCO images"),
    "model install": ("vedette.cli.model.install", "test a model file, install it, and start its trial"),
    "model activate": ("vedette.cli.model.activate", "activate an installed model"),
    "model rollback": ("vedette.cli.model.rollback", "go back to the previous model, until a newer release arrives"),
    "model convert": ("vedette.cli.model.convert", "make an INT8 bundle of a network of PyTorch, ONNX or Keras"),
    "model compare": ("vedette.cli.model.compare", "show where two models differ on the same frames"),
    "model list": ("vedette.cli.model.list", "list the installed models, and the models that were refused"),
    "collect fetch": ("vedette.cli.collect.fetch", "copy the pictures out that the device has collected"),
    "collect clear": ("vedette.cli.collect.clear", "delete the pictures that the device has collected"),
    "fleet init": ("vedette.cli.fleet.init", "create the signing keys and the empty repository of a fleet"),
    "fleet add": ("vedette.cli.fleet.add", "verify a bundle and store it for a release"),
    "fleet release": ("vedette.cli.fleet.release", "release a bundle to a share of the devices, or change a release"),
    "fleet roll": ("vedette.cli.fleet.roll", "release a bundle step by step, and stop when too many devices fail"),
    "fleet approve": ("vedette.cli.fleet.approve", "give the yes for which a rollout waits"),
    "fleet configure": ("vedette.cli.fleet.configure", "sign thresholds, zones and other keys for many devices"),
    "fleet withdraw": ("vedette.cli.fleet.withdraw", "withdraw a release; its devices return to another one"),
    "fleet renew": ("vedette.cli.fleet.renew", "renew the signatures before they expire"),
    "fleet rotate-keys": ("vedette.cli.fleet.rotate_keys", "replace the keys of a role; root keys sign the change"),
    "fleet publish": ("vedette.cli.fleet.publish", "copy the repository to the folder that devices read"),
    "fleet status": ("vedette.cli.fleet.status", "show what is released to which devices, and when signatures expire"),
    "fleet watch": ("vedette.cli.fleet.watch", "show the model, state, speed and health of every device over MQTT"),
}
ENVIRON = {
    "OPENBLAS_NUM_THREADS": "1",                        # numpy's BLAS is never used; its thread pool costs memory
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(64 * 2**20),      # a small file may unpack to gigabytes
    "OPENCV_LOG_LEVEL": "SILENT",                       # our own message names the file
    "PYDANTIC_DISABLE_PLUGINS": "__all__",              # the search for plugins reads every installed package
}
"""Variables that libraries read when they are loaded. A variable that the user has set stays as it is."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises our own error."""

    def error(self, message: str) -> NoReturn:
        """Raise: UsageError, always."""
        raise UsageError(f"{message}{self._meant(message)}; see {self.prog} --help")

    def _meant(self, message: str) -> str:
        from vedette.config.problems import did_you_mean
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        is_unknown = message.startswith("unrecognized") and unknown
        return did_you_mean(unknown[0], self._option_string_actions) if is_unknown else ""

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help or version. argparse itself would hide that the disk is full."""
        print(message, end="", file=file or sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. docs/operations.md lists the codes."""
    argv = sys.argv[1:] if argv is None else argv
    _open_streams()
    os.environ.update({name: value for name, value in ENVIRON.items() if name not in os.environ})
    try:
        code = _dispatch(argv)
        sys.stdout.flush()      # Python would do it on exit, where a failure is a traceback
    except VedetteError as error:
        _print_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        _abandon(sys.stdout)
        return 0
    except OSError as error:    # adapters map their own errors; the terminal, the disk and file descriptors remain
        _abandon(sys.stdout)
        _print_error(str(error))
        return OutputLost.exit_code
    except KeyboardInterrupt:
        return EXIT_CODE
    return code


def _open_streams() -> None:
    """Open the standard streams that the caller has closed, and let every character pass.

    If a stream stayed closed, the first sockets would get its number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):    # a character that the locale cannot say must not end the command
            stream.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a stream cannot say: an escape that JSON has too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start:error.end])[1:-1], error.end


_ESCAPED = "vedette.escaped"
codecs.register_error(_ESCAPED, _escaped)


def _print_error(text: str) -> None:
    """Print each line on standard error, if that can be written."""
    try:
        for line in text.splitlines():
            print(f"vedette: {line}", file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)


def _abandon(stream: TextIO) -> None:
    """Discard what is still buffered. Otherwise Python reports the same error again on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _dispatch(argv: list[str]) -> int:
    name, rest = _command(argv)
    if name is None:
        return _overview(rest)
    parser, module = parser_of(name)
    args = parser.parse_intermixed_args(rest)
    if name != "run":       # `run` handles the signals itself; before that it has nothing to clean up
        leave_in_order()
    return int(module.run(args))


def parser_of(name: str) -> tuple[Parser, ModuleType]:
    """Return the parser and the module of a command."""
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = Parser(prog=f"vedette {name}", description=summary[0].upper() + summary[1:] + ".",
                    epilog=module.EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    return parser, module


def _command(argv: list[str]) -> tuple[str | None, list[str]]:
    for length in (2, 1):
        name = " ".join(argv[:length])
        if name in COMMANDS:
            return name, argv[length:]
    return None, argv


def _overview(argv: list[str]) -> int:
    parser = Parser(prog="vedette", formatter_class=argparse.RawDescriptionHelpFormatter,
                    description="Watch a camera with an INT8 detector and publish detections over MQTT.",
                    epilog="commands:\n" + "\n".join(f"  {name:17} {text}" for name, (_, text) in COMMANDS.items())
                    + "\n\n`vedette COMMAND --help` explains a command.")
    parser.add_argument("--version", action="version", version=f"vedette {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    known, _ = parser.parse_known_args(argv)
    if known.command:
        from vedette.config.problems import did_you_mean
        typed = " ".join(argv[:2])      # a command has one word or two
        group = [name for name in COMMANDS if name.startswith(f"{known.command} ")]
        if group and typed == known.command:
            raise UsageError(f"incomplete command {typed!r}; expected one of {', '.join(group)}")
        meant = did_you_mean(typed.lower(), group or COMMANDS) or did_you_mean(
            known.command.lower(), [*COMMANDS, "--help", "--version"])
        raise UsageError(f"unknown command {(typed if group else known.command)!r}"
                         f"{meant or '; `vedette --help` lists the commands'}")
    parser.print_help()
    return UsageError.exit_code
