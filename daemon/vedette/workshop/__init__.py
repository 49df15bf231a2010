"""From a trained network to a model that is right on the device, on the owner's workstation."""
