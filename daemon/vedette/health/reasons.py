"""The one table of health reasons: code, state, what it means, what to do. docs/reasons.md is written from it.

Invariants: `failed` means that the device does not look at its camera although it should; `degraded` that it looks
and something is not as it should be, or that it was told not to look. The worst reason decides the state. While a
fallback looks, what keeps the device's own model from looking is `degraded`.
Run `python -m vedette.health.reasons` for the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vedette.types import HealthState


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not as it should be."""

    code: str
    state: HealthState
    meaning: str
    remedy: str


_TABLE = (
    Reason("camera_offline", "failed", "The camera gives no frames: absent, refused, or being opened.",
           "Check cable, power, address and credentials; the cause is in `camera`. It is retried without end."),
    Reason("camera_stalled", "failed", "No frame for max(3 s, 3 / fps) from a camera that worked.",
           "Nothing at first: its process is replaced. If it comes back often, check power, cable and network."),
    Reason("camera_frozen", "failed", "Bit-identical pictures for `camera.frozen_after_s`.",
           "Restart the camera. For a source that truly repeats itself raise `camera.frozen_after_s`."),
    Reason("camera_black", "degraded", "The picture is black.", "Check lens cap, light, exposure and masks."),
    Reason("camera_rate", "degraded", "Frames come at a rate that no such camera has, or its time stamps stand still.",
           "Check the driver or the stream's encoder; set `camera.fps`."),
    Reason("camera_slow", "degraded", "The camera delivers less than half of the frames it was asked for.",
           "More light (long exposures halve the rate), another USB port, a smaller size, a better network."),
    Reason("camera_size", "degraded", "The source changed its picture size while it ran.",
           "If that was not you, check the stream's settings. Boxes stay relative to the frame."),
    Reason("no_model", "failed", "No model is named, and none is installed.",
           "`vedette model install FILE`, release one to this device's class and channel, or set `detector.model`."),
    Reason("model_refused", "failed", "The model cannot be used.",
           "The detail says why; `vedette model inspect FILE` says more. It is tried again every minute."),
    Reason("detector_failing", "failed", "Several frames in a row could not be looked at, or one takes without end.",
           "Try another model or runtime; the detail is what the runtime says."),
    Reason("detector_slow", "degraded", "Every result has come later than `camera.max_frame_age_ms` for 5 s.",
           "A smaller model, fewer other processes; or raise `camera.max_frame_age_ms`. The cloud, if enabled, looks."),
    Reason("fallback_cloud", "degraded", "The cloud looks, since the device's own model cannot.",
           "Mend what another reason names; the device's own model takes over again by itself."),
    Reason("fallback_motion", "degraded", "The device's own model cannot look: only what moves is told, as `motion`.",
           "Mend what another reason names; the device's own model takes over again by itself."),
    Reason("cloud_failing", "degraded", "The cloud is asked to look, and gives no results.",
           "The detail says why: check `cloud.url`, the token, the server and the budget. It is tried again."),
    Reason("all_stale", "failed", "Every frame is older than `camera.max_frame_age_ms` before it can be looked at.",
           "A smaller model or picture, fewer other processes; for a slow stream raise `camera.max_frame_age_ms`."),
    Reason("runtime_fallback", "degraded", "The model runs without XNNPACK, several times slower than it could.",
           "Install ai-edge-litert (64-bit); `vedette doctor` says what is there."),
    Reason("paused", "degraded", "Paused by command, for an hour at most.", "Send `resume`, or wait."),
    Reason("update_unreachable", "degraded", "The update source cannot be reached; what is installed runs on.",
           "Check the network, `update.source` and the server. It is tried again on its own."),
    Reason("update_refused", "degraded", "What the update source says cannot be believed; what is installed runs on.",
           "The detail says why: expired (`vedette fleet renew`), older than known, or signed by nobody trusted."),
    Reason("update_failed", "degraded", "The last new model was refused or rolled back; the one before it runs.",
           "The detail says why. Withdraw that release, or release a better one; see `vedette model list`."),
    Reason("store_failed", "degraded", "The model store cannot be written; what is installed runs on.",
           "Free space, check the disk and who owns the state folder; see the detail."),
    Reason("mqtt_offline", "degraded", "No connection to the broker; results wait in the outbox.",
           "Check `mqtt.host`, `mqtt.port` and the network."),
    Reason("mqtt_refused", "degraded", "The broker refuses the login.",
           "Check `mqtt.username`, `mqtt.password_file`, certificates and the broker's ACL."),
    Reason("mqtt_denied", "degraded",
           "The broker refuses a message or a subscription of this device: it loses results, or hears no commands.",
           "Correct the broker's access rules (see `mosquitto.acl`) or size limit; the log names what was refused."),
    Reason("duplicate_device", "degraded", "Another client connects under this device's name.",
           "Give each device its own `device`, then restart the wrong one."),
    Reason("outbox_dropping", "degraded", "The outbox was full: the oldest messages were dropped.",
           "Restore the broker; raise `mqtt.spool_mb`, or publish less."),
    Reason("spool_failed", "degraded",
           "The outbox on disk cannot be written, or some of it not be read; memory goes on.",
           "Free space, check the disk and who owns the state folder; see the detail."),
    Reason("clock_unsynced", "degraded", "The clock was not set, or too long ago: time stamps may be wrong.",
           "Give the device NTP. Order results by `run` and `seq`."),
    Reason("clock_stepped", "degraded", "The clock jumped while the daemon ran; no time server says that it set it.",
           "Check the time server. Order results by `run` and `seq`. After ten minutes the new time counts as right."),
    Reason("undervoltage", "degraded", "The supply voltage is too low now.",
           "A better power supply or cable; unplug USB devices."),
    Reason("throttled", "degraded", "The board slows its processor down now.", "Cool it; check the power supply."),
    Reason("hot", "degraded", "The processor is at 80 degrees Celsius or more.", "A heat sink, a fan, shade."),
    Reason("rate_lowered", "degraded", "Fewer frames are looked at, to spare the board; the detail says why.",
           "Cool it, check its power, a smaller model; the rate comes back by itself (`governor` in health)."),
    Reason("disk_low", "degraded", "Less than 100 MB, or a tenth of a small disk, is free for the state folder.",
           "Free space on that disk."),
    Reason("memory_low", "degraded", "Less than 64 MB of memory are available.",
           "End other processes; a smaller model or picture."),
    Reason("memory_pressure", "degraded", "Processes wait for memory a good part of the time.",
           "As for `memory_low`; raise `MemoryMax=` if the unit's own limit is what is short."),
    Reason("score_drift", "degraded", "In the mean of seven days the model is a tenth less sure of a label.",
           "Look at a snapshot: lens, light, position. Else the scene has changed: train a model on it, or `relearn`."),
    Reason("image_drift", "degraded", "The picture is not what it was: covered, moved, out of focus, dark or flat.",
           "The detail says which. Clean, turn or focus the camera; if what it shows now is right, send `relearn`."),
    Reason("latency_drift", "degraded", "In the mean of seven days the model takes a fifth longer than it did.",
           "Check heat, power supply and what else runs; `relearn` if it is meant to be so."),
    Reason("worker_hung", "failed", "A part of the daemon makes no progress.",
           "Nothing: the watchdog restarts the daemon. Report the stacks that it leaves in the journal."),
    Reason("config_rejected", "degraded", "The last reload was refused; the old configuration runs on.",
           "`vedette check-config --config FILE` names every problem. Correct them, then reload."),
    Reason("restart_needed", "degraded", "The last reload changed keys that apply only at the next start.",
           "Restart when it suits; the detail names the keys."),
)

FALLBACKS = frozenset({"fallback_cloud", "fallback_motion"})
STOOD_IN_FOR = frozenset({"no_model", "model_refused", "detector_failing"})

REASONS = {reason.code: reason for reason in _TABLE}


def state_of(codes: Iterable[str]) -> HealthState:
    """Return the state that these reasons make together. Raises: KeyError for a code that is not in the table."""
    given = set(codes)
    mended = STOOD_IN_FOR if given & FALLBACKS else frozenset()
    states = {"degraded" if code in mended else REASONS[code].state for code in given}
    return "failed" if "failed" in states else "degraded" if states else "ok"


def document() -> str:
    """Return docs/reasons.md."""
    rows = "".join(f"| `{reason.code}` | {reason.state} | {reason.meaning} | {reason.remedy} |\n" for reason in _TABLE)
    return f"""# Health reasons

Written from `daemon/vedette/reasons.py` by `make docs`; do not edit.

`failed`: the device does not look at its camera although it should. `degraded`: it looks, and something is not as it
should be, or it was told not to look. With no reason the state is `ok`; of several the worst decides. While a fallback
looks (`fallback_cloud`, `fallback_motion`), `no_model`, `model_refused` and `detector_failing` are `degraded`.

| code | state | meaning | what to do |
|---|---|---|---|
{rows}"""


if __name__ == "__main__":
    print(document(), end="")
