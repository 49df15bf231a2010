"""What gets worse without any error: scores, times and the picture."""
