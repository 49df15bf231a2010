"""The names of topics."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.models import DEVICE_PATTERN
from vedette.messages import topics

devices = st.from_regex(DEVICE_PATTERN, fullmatch=True)


@given(devices, st.sampled_from([topics.INFO, topics.DETECTIONS, topics.HEALTH, "reply/update"]))
def test_relative_topics_lie_below_the_base(device: str, topic: str) -> None:
    """A relative name gives a topic below the device's own base, and MQTT allows it."""
    assert topics.absolute(device, topic) == f"vedette/{device}/{topic}"
    assert topics.is_publishable(topics.absolute(device, topic))


def test_leading_slash_means_absolute() -> None:
    """A topic with a leading slash is used without the slash."""
    assert topics.absolute("gate-01", "/elsewhere/x") == "elsewhere/x"


@pytest.mark.parametrize(("topic", "name"), [
    ("vedette/gate-01/cmd/update", "update"),
    ("vedette/fleet/update", "update"),
    ("vedette/gate-01/cmd/", None),
    ("vedette/gate-01/cmd/a/b", None),
    ("vedette/gate-02/cmd/update", None),
    ("vedette/gate-01/reply/update", None),
])
def test_command_names(topic: str, name: str | None) -> None:
    """Only the device's own command topics and the fleet's nudge are commands."""
    assert topics.command_name("gate-01", topic) == name


@pytest.mark.parametrize("requested", [None, "", "vedette/gate-02/reply/x", "vedette/gate-01/reply/", "elsewhere",
                                   "vedette/gate-01/reply/+", "vedette/gate-01/reply/#", "vedette/gate-01/reply/\0"])
def test_reply_topic_stays_below_reply(requested: str | None) -> None:
    """A response topic outside of `<base>/reply/`, or one that MQTT forbids, is not used."""
    assert topics.reply_topic("gate-01", "pause", requested) == "vedette/gate-01/reply/pause"


def test_a_requested_reply_topic() -> None:
    """A response topic below `<base>/reply/` is used."""
    assert topics.reply_topic("gate-01", "pause", "vedette/gate-01/reply/me/7") == "vedette/gate-01/reply/me/7"


@pytest.mark.parametrize(("topic", "allowed"), [
    ("a", True), ("a/b c/ü", True), ("", False), ("a/+", False), ("#", False), ("a\0", False), ("x" * 65_536, False)])
def test_publishable(topic: str, allowed: bool) -> None:
    """A topic that MQTT forbids for a message is refused here first."""
    assert topics.is_publishable(topic) is allowed


@pytest.mark.parametrize(("label", "level"), [
    ("person", "person"), ("traffic light", "traffic light"), ("Fußgänger", "Fußgänger"), ("a/b", "a%2Fb"),
    ("+#", "%2B%23"), ("100%", "100%25"), ("a\0\n\x7f\x85", "a%00%0A%7F%C2%85"), ("$SYS", "%24SYS"), ("a$", "a$"),
    ("", "%"), ("\ud800", "%ED%A0%80")])
def test_a_label_as_a_level(label: str, level: str) -> None:
    """What MQTT gives a meaning or forbids is percent-encoded, and nothing else."""
    assert topics.topic_level(label) == level


@given(st.text(st.characters(), max_size=60), st.text(st.sampled_from("%2F/~a$"), max_size=4))
def test_a_level_is_valid_and_can_be_turned_back(label: str, other: str) -> None:
    """It is one level of a topic, and the percent-decoding that everybody has gives the label."""
    level = topics.topic_level(label + other)
    assert topics.is_publishable(level)
    assert "/" not in level
    assert not level.startswith("$")
    assert unquote(level, errors="surrogatepass") == label + other or level == "%"


@given(st.text(st.sampled_from("ä/%a\U0001f600"), min_size=topics.LEVEL_BYTES - 20, max_size=topics.LEVEL_BYTES + 9))
def test_a_long_label_is_cut_and_stays_another_one(label: str) -> None:
    """The level is bounded and valid, and two long labels that begin alike differ."""
    level = topics.topic_level(label)
    assert len(level.encode()) <= topics.LEVEL_BYTES
    assert "/" not in level
    assert topics.is_publishable(level)
    assert topics.topic_level(label + "a") != level
