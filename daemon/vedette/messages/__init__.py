"""The shape of every message, and how it is filled."""
