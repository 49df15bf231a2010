"""Fills the `model` message: which model runs, which one comes, and what the device takes.

Invariants: those of `payloads`.
"""

from __future__ import annotations

from vedette.messages.payloads import rounded, timestamp
from vedette.messages.shapes import LastUpdatePayload, ModelPayload
from vedette.types import LastUpdate, ModelStatus


def model(status: ModelStatus) -> ModelPayload:
    """Return which model runs, and which one is coming."""
    ref, receiver, configuration = status.model, status.receiver, status.configuration
    version = None if ref is None else ref.version
    return {
        "schema": "vedette.model/1",
        "state": status.state,
        "title": None if ref is None else ref.name,
        "installed_version": version,
        "latest_version": status.latest_version or version,
        "release": status.release,
        "sha256": None if ref is None else ref.sha256,
        "variant": None if ref is None else ref.variant,
        "in_progress": status.in_progress,
        "update_percentage": rounded(status.percentage, 0),
        "last_outcome": status.last_outcome,
        "last_update": _last_update(status.last_update),
        "receiver": None if receiver is None else {
            "device_class": receiver.device_class, "channel": receiver.channel, "tags": list(receiver.tags)},
        "configuration": None if configuration is None else {
            "state": configuration.state, "release": configuration.release, "version": configuration.version,
            "sha256": configuration.sha256, "last_update": _last_update(configuration.last_update)},
    }


def _last_update(last: LastUpdate | None) -> LastUpdatePayload | None:
    return None if last is None else {
        "release": last.release, "sha256": last.sha256, "ok": last.ok, "code": last.code, "at": timestamp(last.at)}
