"""The broker: the connection, what waits for it, and the commands it brings."""
