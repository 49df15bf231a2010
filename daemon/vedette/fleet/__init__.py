"""Signed releases for many devices, on the operator's machine."""
