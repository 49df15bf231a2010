"""Everything between a frame and its detections. Only this room and `camera/` touch numpy and OpenCV."""
