"""A capture child whose message cannot be true. The file that the source names says which lie it sends."""

import json
import signal
import socket
from pathlib import Path

from vedette._lib.child import MESSAGE_BYTES, begin_as_child

TRUE = {"kind": "FrameReady", "seq": 1, "slot": 0, "height": 4, "width": 4, "captured_ns": 1, "within_s": 3.0,
        "brightness": None, "contrast": None, "reasons": [], "scaling": [],
        "view": [], "outline": "", "still": False, "kept_back": 0, "film_ns": None}
LIES: dict[str, dict[str, object]] = {
    "no such slot": {"slot": 9}, "too large": {"height": 5000, "width": 5000}, "negative": {"height": -4},
    "future": {"captured_ns": 2**62}, "old seq": {"seq": 0}, "wrong type": {"seq": "1"},
    "scaled too large": {"scaling": [0, 0, 4, 4, 5000, 5000]}, "half a scaling": {"scaling": [0, 0, 4]},
    "half a view": {"view": [1.0]}, "short outline": {"view": [1.0, 1.0], "outline": "00"},
    "negative view": {"view": [-1.0, 1.0]}, "negative brightness": {"brightness": -1.0, "contrast": 1.0},
    "a number for still": {"still": 1}, "text for a time": {"film_ns": "1"},
    "kept back itself": {"kept_back": 1}, "kept back less": {"kept_back": -1},
    "odd outline": {"view": [1.0, 1.0], "outline": "0x"},
    "nan": {"within_s": float("nan")}, "another kind": {"kind": "Gift"},
}

if __name__ == "__main__":
    owner = begin_as_child()
    message, fds, _, _ = socket.recv_fds(owner, MESSAGE_BYTES, 1)
    lie = Path(json.loads(message.split(b"\n")[1])["source"].removeprefix("tcp://")).read_text()
    if lie == "noise":
        owner.send(b"\xff\x00[[[[")
    elif lie == "twice":
        owner.send(json.dumps(TRUE).encode())
        owner.send(json.dumps({**TRUE, "seq": 2}).encode())
    else:
        owner.send(json.dumps({**TRUE, **LIES[lie]}).encode())
    signal.pause()
