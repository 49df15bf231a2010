"""The eyes: sources of frames, the child that reads them, and the hand-over."""
