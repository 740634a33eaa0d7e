"""The parts of `phinas fit`: what is asked, the training, what it came to, and its model card."""
