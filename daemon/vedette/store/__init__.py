"""What is on disk: the models, the signed configurations, and which of them are in effect."""
