"""The parts of `phinas fit`: its settings, the training, the results and the model card."""
