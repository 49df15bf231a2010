"""The `vedette` command and `python -m vedette`: where the process begins.

Invariants: Ctrl-C ends it without a traceback from here on, also while the modules are still being read.
"""

import sys


def main() -> int:
    """Run one command; returns its exit code."""
    try:
        from vedette.cli import main as command
        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
