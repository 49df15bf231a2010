"""A classifier that learns an owner's labels from a few pictures, on the device. README.md says how."""
