"""The commands `vedette collect …`: the pictures that the device has collected of its own camera."""
