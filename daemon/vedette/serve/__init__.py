"""The same detector behind HTTP, for devices whose own model cannot detect, and for video recorders."""
