"""Mechanism with no product words in it."""
