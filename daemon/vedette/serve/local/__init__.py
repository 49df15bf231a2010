"""The daemon's local socket: what a page and the commands of this machine get from a running daemon."""
