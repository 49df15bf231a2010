"""Who detects when the model cannot: the cloud, and motion."""
