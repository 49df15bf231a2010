"""Who looks when the model cannot: the cloud, and motion."""
