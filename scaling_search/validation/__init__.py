"""Training the family and its controls, and what follows from their accuracies."""
