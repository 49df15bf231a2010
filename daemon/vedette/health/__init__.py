"""How the device is, in one message."""
