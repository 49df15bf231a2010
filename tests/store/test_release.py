"""Which devices a release is for, and what its metadata may contain."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from vedette.store.release import Release, ShadowRequirement, TrialRequirement, bucket_of
from vedette.types import Receiver

WHOLE: dict[str, Any] = {"name": "street", "version": "3", "release": 7, "device_classes": ["default"],
                         "channel": "stable"}


def test_bucket_is_the_documented_formula() -> None:
    """First 8 hex digits of SHA-256(salt, NUL, device) mod 10,000."""
    digits = hashlib.sha256(b"salt\x00gate-01").hexdigest()[:8]
    assert bucket_of("salt", "gate-01") == int(digits, 16) % 10_000


def test_ranges_share_the_fleet_out() -> None:
    """Two ranges that cover all buckets: every device is in exactly one, in about the ranges' proportion."""
    low, high = (Release(**WHOLE, salt="s", buckets=buckets) for buckets in ((0, 3999), (4000, 9999)))
    devices = [f"gate-{number}" for number in range(2000)]
    takes = [(low.is_for(name, Receiver("default", "stable")),
              high.is_for(name, Receiver("default", "stable"))) for name in devices]
    assert all(sum(pair) == 1 for pair in takes)
    assert 0.36 < sum(pair[0] for pair in takes) / len(takes) < 0.44


@pytest.mark.parametrize(("device_class", "channel"), [("other", "stable"), ("default", "beta")])
def test_class_and_channel_decide(device_class: str, channel: str) -> None:
    """They also decide where the buckets are ignored."""
    assert not Release(**WHOLE).is_for("gate", Receiver(device_class, channel), any_bucket=True)


@pytest.mark.parametrize(("device", "release", "takes"), [
    ("canary", "stable", True), ("canary-eu", "stable", True), ("canary", "canary", True),
    ("canary", "canary-eu", False), ("stable", "canary", False), ("canaryland", "stable", False),
    ("beta", "stable", False)])
def test_a_canary_takes_stable_releases_too(device: str, release: str, takes: bool) -> None:
    """A device that tries releases first must not stay behind when nothing is tried."""
    assert Release(**WHOLE | {"channel": release}).is_for("gate", Receiver("default", device)) is takes


def test_a_device_must_have_each_tag_of_a_release() -> None:
    """Tags narrow a release; a device may have more of them."""
    indoor = Release(**WHOLE, tags=("indoor", "north"))
    assert indoor.is_for("gate", Receiver("default", "stable", ("north", "shop", "indoor")))
    assert not indoor.is_for("gate", Receiver("default", "stable", ("indoor",)))


@pytest.mark.parametrize("new", [{"kind": "configuration"}, {"tags": ("indoor",)}])
def test_an_older_vedette_ignores_what_it_would_understand_wrongly(new: dict[str, Any]) -> None:
    """It has read the plain values, so it refuses these; this one reads them back."""
    release = Release(**WHOLE | new)
    wire = json.loads(json.dumps(release.custom()))
    assert Release.of(wire) == release
    with pytest.raises(ValidationError):
        Release.model_validate(wire)


def test_what_needs_a_newer_vedette_is_refused() -> None:
    """So a later version can add to releases without harm to this one."""
    with pytest.raises(ValueError, match="it needs moonlight"):
        Release.of({"needs": ["tags", "moonlight"], "release": WHOLE})
    with pytest.raises(ValueError, match="valid dict"):
        Release.of(None)


@pytest.mark.parametrize("wrong", [{"release": 0}, {"release": "new"}, {"name": "a\nb"}, {"name": ""},
                                   {"buckets": [5, 4]}, {"buckets": [0, 10_000]}, {"device_classes": []},
                                   {"trial": {"minutes": float("inf")}}, {"shadow": {"min_agreement": 1.1}}])
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    """A signature does not make wrong values valid."""
    with pytest.raises(ValidationError):
        Release(**WHOLE | wrong)


def test_unknown_keys_are_ignored_and_the_rest_survives_the_wire() -> None:
    """parse(serialize(x)) = x, also for metadata of a newer repository."""
    release = Release.model_validate({**WHOLE, "variant": "B", "shadow": {"frames": 3}, "later_idea": 1})
    assert Release.model_validate_json(release.model_dump_json()) == release


def test_what_is_signed_holds_no_fractions_and_is_read_back() -> None:
    """Canonical JSON cannot carry 0.5: it is written as a string, and the release that is read is the same."""
    shadow = ShadowRequirement(minutes=2.5, min_agreement=0.6)
    release = Release(**WHOLE, shadow=shadow, trial=TrialRequirement(minutes=0.1), variant="b")
    text = json.dumps(release.custom(), sort_keys=True)
    assert not re.search(r"[:\[] *[0-9]+[.e]", text)
    assert Release.model_validate(json.loads(text)) == release
