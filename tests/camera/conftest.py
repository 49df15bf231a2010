"""Fixtures of the camera tests."""

from camera_parts import clip, order  # noqa: F401 - fixtures are found by their name here
