"""What runs in the environments of the tools: each file is a program of its own that imports nothing of Vedette."""
