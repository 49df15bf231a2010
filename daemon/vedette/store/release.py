"""What signed metadata states about a release, and which devices the release is for.

Invariants: frozen and free of I/O; keys that this version does not know are ignored, since a fleet may be older than
its repository; the operator's tool writes with the same types that the device reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vedette.store.frozen import FrozenModel
from vedette.types import Receiver

BUCKETS = 10_000
STABLE, CANARY = "stable", "canary"
_KNOWN_NEEDS = {"configuration", "tags"}

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Kind = Literal["model", "configuration"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ShadowRequirement(FrozenModel):
    """What a candidate must show in shadow, beside the active model, before it may go on trial."""

    frames: Annotated[int, Field(ge=1)] = 100
    minutes: Positive = 5.0
    deadline_minutes: Positive = 60.0
    on_deadline: Literal["accept", "refuse"] = "refuse"
    min_agreement: Share = 0.5
    """F1 of the pairs with the active model's detections, over all frames."""
    max_score_shift: Share = 0.2
    max_latency_ratio: Positive = 2.0
    """The candidate's median detection time over the active model's; both measured in the child, or scaled alike."""
    publish: bool = False
    """Whether its results are published on `<base>/shadow`."""


class TrialRequirement(FrozenModel):
    """What an active model on trial must show before it is good."""

    frames: Annotated[int, Field(ge=1)] = 300
    minutes: Positive = 10.0
    max_error_share: Share = 0.02
    max_latency_ratio: Positive = 2.0
    """Its median time for a frame over the previous model's on this device."""


class Release(FrozenModel):
    """The custom metadata of one target."""

    kind: Kind = "model"
    name: Label
    version: Label
    release: int = Field(ge=1, lt=2**53)
    device_classes: tuple[Label, ...] = Field(min_length=1)
    channel: Label
    tags: tuple[Label, ...] = ()
    """A device must have each of them."""
    buckets: tuple[Annotated[int, Field(ge=0, lt=BUCKETS)], Annotated[int, Field(ge=0, lt=BUCKETS)]] = (0, BUCKETS - 1)
    """The first and the last bucket, both included."""
    salt: str = Field("", max_length=100)
    variant: Label | None = None
    shadow: ShadowRequirement | None = None
    trial: TrialRequirement = TrialRequirement()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.buckets[0] > self.buckets[1]:
            raise ValueError(f"buckets: expected first <= last, got {self.buckets[0]}-{self.buckets[1]}")
        return self

    def is_for(self, device: str, receiver: Receiver, *, any_bucket: bool = False) -> bool:
        """Return whether a device takes this release. `any_bucket`: ignore the buckets, as for files in a folder."""
        return (receiver.device_class in self.device_classes and set(self.tags) <= set(receiver.tags)
                and _is_on(receiver.channel, self.channel)
                and (any_bucket or self.buckets[0] <= bucket_of(self.salt, device) <= self.buckets[1]))

    def custom(self) -> dict[str, Any]:
        """Return the content for signed metadata; `of` reads it back.

        Fractions are strings there: the canonical JSON that is signed allows only whole numbers. A release that an
        older Vedette would understand wrongly is written so that it ignores the release: it needs something new.
        """
        written: dict[str, Any] = _without_fractions(self.model_dump(mode="json"))
        needs = [*(["configuration"] if self.kind == "configuration" else []), *(["tags"] if self.tags else [])]
        return {"needs": needs, "release": written} if needs else written

    @classmethod
    def of(cls, custom: Mapping[str, Any] | None) -> Release:
        """Read the content of signed metadata. Raises: ValueError, also if it needs something that is not known."""
        if custom is None or "needs" not in custom:
            return cls.model_validate(custom)
        if unknown := set(custom["needs"]) - _KNOWN_NEEDS:
            raise ValueError(f"it needs {', '.join(sorted(map(str, unknown)))}: it is for a newer Vedette")
        return cls.model_validate(custom.get("release"))


@dataclass(frozen=True, slots=True)
class Target:
    """A file that trusted metadata names. `path` is relative to the repository's folder `targets`."""

    path: str
    length: int
    sha256: str
    release: Release


def bucket_of(salt: str, device: str) -> int:
    """Return a device's bucket, 0 to 9,999: the first 8 hex digits of SHA-256(salt, NUL, device) mod 10,000."""
    return int(hashlib.sha256(f"{salt}\0{device}".encode()).hexdigest()[:8], 16) % BUCKETS


def _is_on(device: str, release: str) -> bool:
    """Return whether a device on one channel takes releases of another: a canary takes the stable ones too."""
    is_canary = device == CANARY or device.startswith(f"{CANARY}-")
    return release == device or (is_canary and release == STABLE)


def _without_fractions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_fractions(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    return value
