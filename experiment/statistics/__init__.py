"""Statistical inference on plain numbers: paired comparisons, posteriors, standard errors."""
