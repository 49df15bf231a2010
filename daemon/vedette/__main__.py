"""The entry point of `vedette` and of `python -m vedette`."""

import sys

from vedette._lib.interrupt import leave_at_once


def main() -> int:
    """Run one command and return its exit code."""
    leave_at_once()
    from vedette.cli import main as command
    return command()


if __name__ == "__main__":
    sys.exit(main())
