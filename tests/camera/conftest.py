"""Fixtures of the camera tests."""

from tests.support.daemon.cameras import clip, order

__all__ = ["clip", "order"]
