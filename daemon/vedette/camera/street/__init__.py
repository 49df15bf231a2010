"""The drawn street: what it looks like, what is in it, and the camera that shows it (`camera.source: synthetic`)."""
