"""Keep-latest mailbox between two threads: depth 1, drop-oldest; `put` returns the item that it replaced.

Invariants: `put` never waits and returns what it replaced, so that the caller counts and frees it; `take`
returns each item at most once; after `close`, waiting threads wake and get None.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """A mailbox that keeps the newest `depth` items. Depth 1 is keep-latest; a deeper one is a short FIFO."""

    def __init__(self, depth: int = 1) -> None:
        self._depth = depth
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<Latest {len(self._items)}/{self._depth}{' closed' if self._closed else ''}>"

    def put(self, item: T) -> T | None:
        """Add an item; returns the oldest one if the mailbox was full. Never waits."""
        with self._changed:
            replaced = self._items.popleft() if len(self._items) >= self._depth else None
            self._items.append(item)
            self._changed.notify()
        return replaced

    def take(self, timeout_s: float) -> T | None:
        """Return the oldest item (the newest, at depth 1), or None after `timeout_s` or once closed and empty."""
        with self._changed:
            self._changed.wait_for(self._has_changed, timeout_s)
            return self._items.popleft() if self._items else None

    def close(self) -> None:
        """Wake every waiting thread; the items that are left can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_changed(self) -> bool:
        return bool(self._items) or self._closed
