"""The grid of (alpha, beta, gamma): distinct rounded networks at equal FLOPs."""
