"""A candidate's child that does its work and sends false responses, as the environment variable LIE says (JSON)."""

import json
import os
import signal
import socket

from vedette._lib.child import MESSAGE_BYTES
from vedette.validate.candidate_child import Session
from vedette.vision import probe_child


def main() -> None:
    """Overwrite what LIE names: of the proof, of the response to loading or to a frame, or a whole response.

    `hangs_up`: no response at all; this end is closed, but the process does not end.
    """
    lie = json.loads(os.environ["LIE"])
    link, request = probe_child.begin()
    request.pop("cpu_s")
    session = Session(**request)
    response = session.handle({"do": "load"}, [])
    if "hangs_up" in lie:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        link.close()
        signal.pause()
    response["proof"].update(lie.get("proof", {}))
    response.update(lie.get("load", {}))
    while True:
        link.send(lie["raw"].encode() if "raw" in lie else json.dumps(response).encode())
        message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, 1)
        if not message:
            return
        response = {**session.handle(json.loads(message), fds), **lie.get("look", {})}


if __name__ == "__main__":
    main()
