"""The one table of health reasons: code, state, meaning, and what to do. docs/reasons.md is written from it.

Invariants: `failed` means that the device should detect, but does not; `degraded` means that it detects and something
is wrong, or that a command has paused it. `ok` is advice. The worst reason decides the state. While a fallback detects,
a reason that keeps the device's own model from running is `degraded`.
Run `python -m vedette.health.reasons` for the document.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from vedette.types import HealthState, ReasonCode


@dataclass(frozen=True, slots=True)
class Reason:
    """One problem of the device."""

    code: ReasonCode
    state: HealthState
    meaning: str
    remedy: str


_TABLE = (
    Reason("camera_offline", "failed",
           "The camera gives no frames: it is absent, refuses the connection, or is being opened.",
           "Check cable, power, address and credentials. The message `camera` has the cause. The daemon tries again "
           "and again."),
    Reason("camera_stalled", "failed",
           "A camera that worked has given no frame for 3 s or for 3 / fps, whichever is longer.",
           "Wait first: the daemon opens the source again, or replaces the capture process if it hangs. If this "
           "happens often, check power, cable and network."),
    Reason("camera_frozen", "failed", "All frames have been exactly the same for `camera.frozen_after_s`.",
           "Restart the camera. If the source really repeats the same image, raise `camera.frozen_after_s`."),
    Reason("camera_black", "degraded", "The image is black.",
           "Check lens cap, light, exposure and masks."),
    Reason("camera_rate", "degraded",
           "The frame rate is impossible for such a camera, or its time stamps do not advance.",
           "Check the driver, or the encoder of the stream. Set `camera.fps`."),
    Reason("camera_slow", "degraded",
           "The camera gives less than half of the expected frames: of `camera.fps`, or of the rate that the camera "
           "declares if that is lower.",
           "Add light, because a long exposure lowers the rate. You can also use another USB port, a smaller size or "
           "a better network."),
    Reason("camera_size", "degraded", "The frame size of the source changed while it ran.",
           "If you did not change it, check the settings of the stream. Boxes stay relative to the frame."),
    Reason("camera_damaged", "degraded", "Pictures came that could not be decoded. They were skipped.",
           "The log names them. For a USB camera, check cable, port and power. For a film, check the file."),
    Reason("decoding_costly", "ok",
           "The stream takes more processor time than all that the daemon does with its frames, over two minutes.",
           "Use the substream of the camera. Set `camera.decode: keyframes` if one frame in a few seconds is enough."),
    Reason("no_model", "failed", "The configuration names no model, and none is installed.",
           "Run `vedette model install FILE`, release a model for the class and channel of this device, or set "
           "`detector.model`."),
    Reason("model_refused", "failed", "The model cannot be used.",
           "The detail has the cause; `vedette model inspect FILE` shows more. The daemon tries again when the file "
           "changes, on `SIGHUP`, and every minute. A model that killed the daemon three times while it was opened is "
           "tried only once per hour."),
    Reason("detector_failing", "failed", "Detection failed for several frames in a row, or it hangs in one frame.",
           "The detail has the error of the runtime. Try another model or runtime."),
    Reason("detector_slow", "degraded", "For 5 s every result has come later than `camera.max_frame_age_ms`.",
           "Use a smaller model, end other processes, or raise `camera.max_frame_age_ms`. If the cloud is enabled, the "
           "cloud detects meanwhile."),
    Reason("results_implausible", "degraded",
           "Every result has as many detections as `detector.max_detections` allows, or no class ever comes twice.",
           "The model is probably decoded in the wrong way. Look at the boxes with `vedette detect --out DIR`, and "
           "check `detector.decoder`. If the scene is that full, raise `detector.max_detections`."),
    Reason("fallback_cloud", "degraded", "The cloud detects, because the device's own model cannot or is too slow.",
           "Another reason says why. Correct that problem. The device then uses its own model again."),
    Reason("fallback_motion", "degraded",
           "The device's own model cannot detect. The device publishes only moving things, with the label `motion`.",
           "Another reason says why. Correct that problem. The device then uses its own model again."),
    Reason("cloud_failing", "degraded", "The cloud should detect, but gives no results.",
           "The detail has the cause. Check `cloud.url`, the token, the server and the budget. The daemon tries "
           "again."),
    Reason("all_stale", "failed",
           "Every frame is older than `camera.max_frame_age_ms` before the device can detect in it.",
           "Use a smaller model or frame, or end other processes. For a slow stream, raise "
           "`camera.max_frame_age_ms`."),
    Reason("runtime_fallback", "degraded",
           "The model runs without XNNPACK (fast code for processors), so it is several times slower than possible.",
           "Install ai-edge-litert (64-bit). `vedette doctor` shows the runtimes of this machine."),
    Reason("paused", "degraded",
           "A command has paused detection. `pause` lasts for an hour at most, `detection` until it is switched on.",
           "Send `resume`, or wait. Nothing else ends the pause of `detection`, not even a restart."),
    Reason("update_unreachable", "degraded", "The update source does not answer. The installed model still runs.",
           "Check the network, `update.source` and the server. The daemon tries again."),
    Reason("update_refused", "degraded",
           "The device does not trust the data of the update source. The installed model still runs.",
           "The detail has the cause, for example: expired (run `vedette fleet renew`), older than the known data, or "
           "no trusted signature."),
    Reason("update_failed", "degraded", "The newest model was refused or rolled back. The previous model runs.",
           "The detail has the cause; see `vedette model list`. Withdraw that release, or release a better model."),
    Reason("configuration_failed", "degraded",
           "The newest signed configuration was refused or rolled back, or its file on this device was damaged. The "
           "configuration before it is in effect, or the device's own keys.",
           "The detail has the cause. Withdraw that release, or sign a better configuration. When the source answers, "
           "it replaces a damaged file."),
    Reason("store_failed", "degraded", "The store of models cannot be written. The installed model still runs.",
           "Free disk space. Check the disk and the owner of the state folder; see the detail."),
    Reason("mqtt_offline", "degraded",
           "There is no connection to the broker. Results wait on the device, in the outbox.",
           "Check `mqtt.host`, `mqtt.port` and the network."),
    Reason("mqtt_refused", "degraded", "The broker refuses the login.",
           "Check `mqtt.username`, `mqtt.password_file`, certificates and the broker's access rules (ACL)."),
    Reason("mqtt_denied", "degraded",
           "The broker refuses a message or a subscription. Results are lost, or commands do not arrive.",
           "Correct the broker's access rules (see `mosquitto.acl`) or its size limit. The log says what was "
           "refused."),
    Reason("mqtt_limited", "degraded",
           "The broker cannot do all that the device asks of it. The detail says what is lost.",
           "Change the settings of the broker, or use another one. If MQTT 3.1.1 is enough, set `mqtt.protocol`."),
    Reason("duplicate_device", "degraded", "Another client connects with the name of this device.",
           "Give each device its own name (`device`), then restart the device that had the wrong name."),
    Reason("outbox_dropping", "degraded",
           "The outbox (messages that wait for the broker) was full, and the oldest messages were dropped.",
           "Repair the connection to the broker. Raise `mqtt.spool_mb`, or publish less."),
    Reason("spool_failed", "degraded",
           "The part of the outbox on disk cannot be written or read. Messages wait in memory.",
           "Free disk space. Check the disk and the owner of the state folder; see the detail."),
    Reason("clips_failed", "degraded",
           "The folder of the clips cannot be written, or does not answer. Everything else goes on.",
           "Check `events.clips.folder`: is its disk there, does it have 100 MB free, and may the daemon's user write "
           "there? The unit needs the line `ReadWritePaths=` for it. The daemon tries again."),
    Reason("collect_failed", "degraded",
           "The pictures for the workshop cannot be written, or their disk does not answer. Everything else goes on.",
           "Free disk space: 100 MB must stay free. Check the disk and the owner of the state folder; see the detail. "
           "The daemon tries again. To end it, set `collect.enabled: false`."),
    Reason("clock_unsynced", "degraded",
           "No time server has set the clock, or not for a long time. Time stamps may be wrong.",
           "Give the device access to an NTP server. Order results by `run` and `seq`."),
    Reason("clock_stepped", "degraded",
           "The clock jumped while the daemon ran, and apparently no time server has set it.",
           "Check the time server. Order results by `run` and `seq`. After ten minutes the new time counts as "
           "correct."),
    Reason("undervoltage", "degraded", "The supply voltage is too low now.",
           "Use a better power supply or cable, or unplug USB devices."),
    Reason("throttled", "degraded", "The board makes its processor slower now.",
           "Cool the board. Check the power supply."),
    Reason("hot", "degraded", "The processor is at 80 degrees Celsius or more.",
           "Add a heat sink, a fan or shade."),
    Reason("rate_lowered", "degraded", "The frame rate is lowered to protect the board. The detail has the cause.",
           "Cool the board, check its power, or use a smaller model. The rate rises again by itself (`governor` in "
           "health)."),
    Reason("disk_low", "degraded",
           "The disk of the state folder has less than 100 MB free. On a small disk, it has less than a tenth free.",
           "Free space on that disk."),
    Reason("memory_low", "degraded", "Less than 64 MB of memory are available.",
           "End other processes, or use a smaller model or frame."),
    Reason("memory_pressure", "degraded", "Processes wait for memory during a large part of the time.",
           "Do the same as for `memory_low`. If the limit of the unit is too low, raise `MemoryMax=`."),
    Reason("score_drift", "degraded",
           "Over seven days, the mean score of a label is more than a tenth lower than the baseline.",
           "Take a snapshot, and check lens, light and position. If the scene itself has changed, train a model on it "
           "or send the command `relearn`."),
    Reason("image_drift", "degraded",
           "The view has changed: it is covered, moved, out of focus, dark or flat (without contrast).",
           "The detail says which. Clean, turn or focus the camera. If the present view is correct, send the command "
           "`relearn`."),
    Reason("latency_drift", "degraded",
           "Over seven days, the model needs more than a fifth more time than the device has learnt.",
           "Check heat, power supply and other processes. If the change is intended, send the command `relearn`."),
    Reason("worker_hung", "failed", "A part of the daemon makes no progress.",
           "Do nothing: the watchdog restarts the daemon. Report the stacks that it writes to the journal."),
    Reason("config_rejected", "degraded", "The last reload was refused. The old configuration stays in use.",
           "Run `vedette check-config --config FILE`. Correct every problem that it prints, then reload."),
    Reason("restart_needed", "degraded", "The last reload changed keys that apply only after a restart.",
           "Restart the daemon at a good moment. The detail names the keys."),
    Reason("config_tried", "ok",
           "Keys are tried that the configuration file does not have so. The detail names them. The next reload or "
           "restart ends it.",
           "To keep them, write them to the file, for example with `vedette config apply FILE`. To take them back at "
           "once, send the command `try` without keys, or reload."),
)

FALLBACKS = frozenset({"fallback_cloud", "fallback_motion"})
REPLACED_BY_FALLBACK = frozenset({"no_model", "model_refused", "detector_failing"})

REASONS = {reason.code: reason for reason in _TABLE}

_WIDTH = 120
_HEAD = """\
# Health reasons

`make docs` writes this page from `daemon/vedette/health/reasons.py`; do not edit it.

- `ok`: there is no reason, or only advice.
- `degraded`: the device detects but has a problem, or a command has paused it.
- `failed`: the device should detect, but does not.

If there are several reasons, the worst one decides the state. While a fallback detects (`fallback_cloud`,
`fallback_motion`), `no_model`, `model_refused` and `detector_failing` are `degraded`. The *detail* of a reason is a
text in health that has the cause. A [glossary](operations.md#glossary) explains the words of Vedette.
"""


def state_of(codes: Iterable[ReasonCode]) -> HealthState:
    """Return the state that these reasons make together. Raises: KeyError for a code that is not in the table."""
    present = {code for code in codes if REASONS[code].state != "ok"}
    softened = REPLACED_BY_FALLBACK if present & FALLBACKS else frozenset()
    if any(REASONS[code].state == "failed" and code not in softened for code in present):
        return "failed"
    return "degraded" if present else "ok"


def document() -> str:
    """Return docs/reasons.md."""
    return _HEAD + "".join(map(_section, _TABLE))


def _section(reason: Reason) -> str:
    meaning = textwrap.fill(f"*{reason.state}*: {reason.meaning}", _WIDTH, break_on_hyphens=False)
    remedy = textwrap.fill(f"What to do: {reason.remedy}", _WIDTH, break_on_hyphens=False)
    return f"\n## {reason.code}\n\n{meaning}\n\n{remedy}\n"


if __name__ == "__main__":
    print(document(), end="")
