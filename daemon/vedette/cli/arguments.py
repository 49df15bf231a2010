"""Command-line arguments that several commands share, and kinds of values that argparse does not have.

Invariants: the message about a value that cannot be used names the value and what was expected.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vedette.config.files import expanded

Number = TypeVar("Number", int, float)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`."""
    parser.add_argument("--config", type=file_path, metavar="F", help="configuration file (default: built-in defaults)")


def file_path(text: str) -> Path:
    """Return the path that somebody typed. A shell leaves the ~ in `--model=~/street.tflite`."""
    return Path(expanded(text))


def between(kind: type[Number], low: Number, high: Number) -> Callable[[str], Number]:
    """Return a parser of numbers from `low` to `high`, for `add_argument(type=...)`."""
    def parse(text: str) -> Number:
        try:
            value: Number | None = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            whole = "whole " if kind is int else ""
            raise argparse.ArgumentTypeError(f"{text!r}; expected a {whole}number from {low} to {high}")
        return value
    return parse
