"""The shape of every message on the wire, and how it is filled."""
