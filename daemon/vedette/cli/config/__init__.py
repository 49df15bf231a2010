"""The commands `vedette config …`."""
