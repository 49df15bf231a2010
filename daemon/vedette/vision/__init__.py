"""From the pixels of a frame to its detections."""
