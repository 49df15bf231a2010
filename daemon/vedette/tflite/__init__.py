"""The file format of a model, read without running it."""
