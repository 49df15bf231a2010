"""One task in a thread of its own, so that the thread that wants its result can see to other things meanwhile.

Invariants: the task owns nothing durable, so it may be left behind; its error is raised where its result is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from vedette._lib.worker import Worker

T = TypeVar("T")


class BackgroundTask(Generic[T]):
    """Starts at once. `progress`, 0 to 1, is set by the task."""

    def __init__(self, name: str, task: Callable[[BackgroundTask[T]], T]) -> None:
        self.progress: float | None = None
        self._result: list[T] = []
        self._worker = Worker(name, lambda _: self._result.append(task(self)))
        self._worker.start()

    def __repr__(self) -> str:
        return f"<Job {self._worker!r}>"

    @property
    def done(self) -> bool:
        """Whether its result can be taken."""
        return not self._worker.alive

    def take(self) -> T:
        """Return the result of a job that is done. Raises: what the task raised."""
        if self._worker.failure is not None:
            raise self._worker.failure
        return self._result[0]
