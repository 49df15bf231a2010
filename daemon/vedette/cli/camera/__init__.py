"""The commands `vedette camera …`: which cameras this machine has."""
