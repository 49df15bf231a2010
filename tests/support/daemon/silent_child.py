"""A capture child that imports for ever: it never sends a message."""

import signal

from vedette._lib.child import begin_as_child

if __name__ == "__main__":
    begin_as_child()
    signal.pause()
