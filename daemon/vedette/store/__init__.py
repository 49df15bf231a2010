"""What is on disk: the models, and the one state file that says which of them runs."""
