"""Helpers of the tests that work in a thread of their own, for as long as they are used as a context."""

from __future__ import annotations

import threading
from typing import Self

from tests.support.waiting.fair_clock import PATIENCE_S


class InThread:
    """`_run` is the thread; `_stopping` asks it to end."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        raise NotImplementedError
