"""The drawn street of `camera.source: synthetic`: its pictures, their truth, and the options of the source."""
