"""The server side of the cloud fallback: the same detector behind HTTP."""
