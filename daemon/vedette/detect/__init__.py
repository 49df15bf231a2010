"""A frame becomes a result."""
