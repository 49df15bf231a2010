"""What degrades silently: scores, latency and picture against what they were, and what downstream says of results."""
