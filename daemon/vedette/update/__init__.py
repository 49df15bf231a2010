"""What is done about a new model, step by step."""
