"""One task in a thread of its own, so that the thread that wants its result can see to other things meanwhile.

Invariants: the task owns nothing durable, so it may be left behind; its error is raised where its result is taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """Starts at once. `progress`, 0 to 1, is set by the task."""

    def __init__(self, name: str, task: Callable[[Job[T]], T]) -> None:
        self.progress: float | None = None
        self._task = task
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Job {self._thread.name} {'done' if self.done else 'running'}>"

    @property
    def done(self) -> bool:
        """Whether `take` returns at once."""
        return not self._thread.is_alive()

    def take(self) -> T:
        """Return the result of a job that is done. Raises: what the task raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _main(self) -> None:
        try:
            self._result.append(self._task(self))
        except BaseException as error:  # noqa: BLE001 - the outermost frame of a thread hands on whatever it is
            self._error = error
