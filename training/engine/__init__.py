"""Training one network: steps, optimizer, checkpoints, distribution, evaluation."""
