"""A candidate's child that does its work and then lies about it, as the environment variable LIE says (JSON)."""

import json
import os
import socket

from vedette._lib.child import MESSAGE_BYTES
from vedette.vision import probe_child
from vedette.vision.candidate_child import Session


def main() -> None:
    """Overwrite what the lie names: of the proof, of the answer to loading, of a look, or the whole of one answer."""
    lie = json.loads(os.environ["LIE"])
    link, request = probe_child.begin()
    request.pop("cpu_s")
    session = Session(**request)
    answer = session.answer({"do": "load"}, [])
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
