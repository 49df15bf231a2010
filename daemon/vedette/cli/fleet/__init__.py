"""The commands of `vedette fleet`, one module each."""
