"""What answers over HTTP: a detector for other devices and recorders, and a daemon on its local socket."""
