"""Labels, classes and official splits, as a source has them."""
