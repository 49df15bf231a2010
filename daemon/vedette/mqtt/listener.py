"""A connection of a command that subscribes to more topics as it goes on.

Invariants: as `mqtt/connection.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from vedette.mqtt.connection import Connection


class Listener(Connection):
    """As Connection, with more topics than `filters`."""

    @cached_property
    def unanswered(self) -> dict[int | None, Sequence[str]]:
        """The filters of each subscription that the broker has not answered, by packet identifier."""
        return {}

    def subscribe(self, filters: Sequence[str], *, qos: int) -> None:
        """Ask for more absolute topics. Only what the broker has kept comes with `retain`."""
        self.unanswered[self._client.ask_for(filters, qos)] = filters

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Ask for no more messages of these topics."""
        self._client.unsubscribe([*filters])

    def _on_subscribe(self, client: object, userdata: object, mid: int, reasons: Sequence[Any],
                      properties: object) -> None:
        if mid not in self.unanswered:
            super()._on_subscribe(client, userdata, mid, reasons, properties)
            return
        for topic, reason in zip(self.unanswered.pop(mid), reasons, strict=False):
            if reason.is_failure:
                self.refused_filters += (topic,)
