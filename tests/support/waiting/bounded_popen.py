"""A process that does not outlive the block of its `with`."""

from __future__ import annotations

import subprocess
import threading
from typing import AnyStr, Self

from tests.support.waiting.fair_clock import PATIENCE_S


class BoundedPopen(subprocess.Popen[AnyStr]):
    """Killed after the block, or in it after twice `PATIENCE_S`: whoever reads its output then comes to the end.

    The `with` of a plain Popen waits for ever for a process that a failure in the block has left alive.
    """

    def __enter__(self) -> Self:
        self._late = threading.Timer(2 * PATIENCE_S, self.kill)
        self._late.daemon = True
        self._late.start()
        return super().__enter__()

    def __exit__(self, *what: object) -> None:
        self._late.cancel()
        self.kill()
        super().__exit__(*what)  # type: ignore[arg-type]
