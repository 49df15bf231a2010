"""The modules that only the capture child runs: `main` is the process. The daemon imports none of them."""
