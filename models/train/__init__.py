"""The recipe of the model in the box: drawings, network, training, INT8, evaluation. `make model` runs all of it."""
