"""Where frames come from: the sources, the capture child, and the daemon's side of it.

`open`, `remote`, `session` and `camera_state` are the daemon's side. `child/` is the process that captures.
Both sides use `settings`, `wire`, `shared_frames`, `restart_policy` and `brightness`. `street/` is the drawn street.
"""
