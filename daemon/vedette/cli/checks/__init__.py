"""The checks of `vedette doctor`."""
