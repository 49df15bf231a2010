"""One task in a thread of its own, so that the thread that waits for its result can do other work meanwhile.

Invariants: the task owns nothing durable, so it may be left behind; `result` raises the task's error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from vedette._lib.worker import Worker

T = TypeVar("T")


class BackgroundTask(Generic[T]):
    """Starts at once. The task sets `progress`, 0 to 1."""

    def __init__(self, name: str, task: Callable[[BackgroundTask[T]], T]) -> None:
        self.progress: float | None = None
        self._task = task
        self._results: list[T] = []
        self._worker = Worker(name, self._run)
        self._worker.start()

    def __repr__(self) -> str:
        return f"<BackgroundTask {self._worker!r}>"

    @property
    def done(self) -> bool:
        """Whether the task has ended."""
        return not self._worker.alive

    def result(self) -> T:
        """Return the result of a task that is done. Raises: what the task raised."""
        if self._worker.failure is not None:
            raise self._worker.failure
        return self._results[0]

    def _run(self, _: Worker) -> None:
        self._results.append(self._task(self))
