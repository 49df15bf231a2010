"""What every configuration key means, and how the configuration is read."""
