"""The camera: `open`, `remote`, `session`, `camera_state` are the daemon's side, `child/` is the process that captures.

Both sides use `settings`, `wire`, `shared_frames`, `restart_policy` and `brightness`. `street/` is the drawn street.
"""
