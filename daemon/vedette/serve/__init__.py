"""The same detector behind HTTP, for devices whose own model cannot detect."""
