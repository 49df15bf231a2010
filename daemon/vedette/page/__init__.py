"""What a browser sees of the daemons on this machine, in a process of its own."""
