"""HTTP with one deadline for the whole exchange."""
