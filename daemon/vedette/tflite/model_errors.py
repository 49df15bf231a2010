"""Turns any exception while a model file is read into a ModelError.

Invariants: only what follows from the bytes of a file is turned: wrong lookups, values, types, numbers, recursion and
memory. Vedette's own errors pass unchanged.
"""

from __future__ import annotations

import contextlib
import functools
import struct
import zlib
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from vedette.errors import ModelUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class OfFile(Protocol):
    """What was read from a file."""

    @property
    def path(self) -> Path:
        """The file."""


M = TypeVar("M", bound=OfFile)
P = ParamSpec("P")
R = TypeVar("R")
_UNFORESEEN = (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, AssertionError, RuntimeError,
               MemoryError, BufferError, EOFError, struct.error, zlib.error)


@contextlib.contextmanager
def model_errors_only(path: Path) -> Iterator[None]:
    """Raise: ModelUnreadable in place of what the work on this file raised and nobody foresaw."""
    try:
        yield
    except _UNFORESEEN as error:
        raise ModelUnreadable(f"{path}: cannot be understood: {type(error).__name__}: {str(error)[:200]}; expected a "
                              ".tflite file as its exporter wrote it") from error


def with_model_errors_only(
        function: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Return a function of a model that raises as in `model_errors_only`."""
    @functools.wraps(function)
    def guarded(model: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with model_errors_only(model.path):
            return function(model, *args, **kwargs)
    return guarded
