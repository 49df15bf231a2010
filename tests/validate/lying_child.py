"""A candidate's child that does its work and then lies about it, as the environment variable LIE says (JSON)."""

import json
import os
import signal
import socket

from vedette._lib.child import MESSAGE_BYTES
from vedette.validate.candidate_child import Session
from vedette.vision import probe_child


def main() -> None:
    """Overwrite what the lie names: of the proof, of the answer to loading, of a look, or the whole of one answer.

    `hangs_up`: no answer at all; our end is closed, and we stay.
    """
    lie = json.loads(os.environ["LIE"])
    link, request = probe_child.begin()
    request.pop("cpu_s")
    session = Session(**request)
    answer = session.answer({"do": "load"}, [])
    if "hangs_up" in lie:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        link.close()
        signal.pause()
    answer["proof"].update(lie.get("proof", {}))
    answer.update(lie.get("load", {}))
    while True:
        link.send(lie["raw"].encode() if "raw" in lie else json.dumps(answer).encode())
        message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
        if not message:
            return
        answer = {**session.answer(json.loads(message), fds), **lie.get("look", {})}


if __name__ == "__main__":
    main()
