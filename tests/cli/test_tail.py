"""`vedette tail` on a real broker."""

from __future__ import annotations

import json
import threading

import pytest

from tests.support.broker.fake_broker import ACCEPT_V3, Connect, FakeBroker
from tests.support.broker.mosquitto import Mosquitto
from tests.support.broker.subscriber import send
from tests.support.fakes import FakeClock, make_frame, make_result
from tests.support.network.ports import free_port
from tests.support.waiting.until import wait_until
from vedette.cli import main
from vedette.messages import payloads
from vedette.types import Box, Detection


def tail(broker: Mosquitto, *arguments: str) -> int:
    return main(["tail", "--host", "127.0.0.1", "--port", str(broker.port), *arguments])


def test_every_kind_of_message_is_a_line(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """Results, counts and availability are printed as text; a hostile message with printable characters only."""
    result = make_result(make_frame(FakeClock()), (Detection("person", 0, 0.91, Box(0, 0, 1, 1)),))
    seen = payloads.detections(result, device="gate-01", run=1, seq=1, dropped={}, clock_synced=True)
    messages = {
        "availability": b"online", "detections": payloads.encode(seen),
        "counts": payloads.encode(payloads.counts({"person": 1}, captured_at=FakeClock().utc_now())),
        "health": b"\x1b[2J\xff",
        "events": b'{"type": "end", "id": "4-2", "label": "dog", "score": 0.71, "zones": ["lawn"]}',
        "zones": b'{"zones": {"drive": {"cat": 2}, "lawn": {}}}',
    }
    for topic, payload in messages.items():
        send(broker.client(), f"vedette/gate-01/{topic}", payload, retain=True)
    assert tail(broker, "--count", str(len(messages))) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == len(messages)
    for expected in ("online", "person 0.91", "1 person", "[2J", "end 4-2 dog 0.71 in lawn", "drive: 2 cat; lawn: -"):
        assert sum(expected in line for line in lines) == 1


def test_counts_of_another_shape_are_shown_as_they_are(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """A device of another version, or a hostile one, does not end the command."""
    send(broker.client(), "vedette/gate-01/counts", b'{"counts": [7]}', retain=True)
    assert tail(broker, "--count", "1") == 0
    assert "{'counts': [7]}" in capsys.readouterr().out


def test_json_lines_of_one_device(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each line is an object with topic and payload, and only the named device is followed."""
    send(broker.client(), "vedette/gate-02/counts", b'{"counts": {}}', retain=True)
    send(broker.client(), "vedette/gate-01/counts", b'{"counts": null}', retain=True)
    assert tail(broker, "gate-01", "--json", "--count", "1") == 0
    assert json.loads(capsys.readouterr().out) == {"topic": "vedette/gate-01/counts", "payload": {"counts": None}}


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x01"], ids=["hangs up", "refuses"])
def test_a_broker_without_mqtt_5(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """The command falls back to MQTT 3.1.1, as the daemon does."""
    def answers(connect: Connect) -> bytes:
        return answer if connect.level == 5 else ACCEPT_V3

    with FakeBroker(answers) as broker:
        broker.deliver("vedette/gate-01/availability", b"online", qos=0, level=4)
        assert main(["tail", "--host", "127.0.0.1", "--port", str(broker.port), "--count", "1"]) == 0
    assert "online" in capsys.readouterr().out


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a broker the command names the address and ends with 69."""
    assert main(["tail", "--host", "127.0.0.1", "--port", str(port := free_port())]) == 69
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_later_messages_are_shown(broker: Mosquitto, capsys: pytest.CaptureFixture[str]) -> None:
    """A message published after the command has started is shown."""
    codes: list[int] = []
    following = threading.Thread(target=lambda: codes.append(tail(broker, "--count", "1")), daemon=True)
    following.start()
    assert wait_until(lambda: "vedette." in broker.log)

    def is_shown() -> bool:
        send(broker.client(), "vedette/gate-01/camera", b'{"state": "stalled", "cause": "silence"}')
        return not following.is_alive()

    assert wait_until(is_shown)
    assert codes == [0]
    assert "stalled silence" in capsys.readouterr().out
