"""What is on disk: the model files, and the one state file that says which of them runs."""
