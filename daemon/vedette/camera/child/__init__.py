"""The modules that only the capture child runs. `main` is the process; `open_source` says how to add a camera."""
