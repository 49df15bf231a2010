"""The commands of `vedette model`, one module each."""
