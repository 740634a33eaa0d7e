"""Images in: sources, decoding, splits, the prepared data set and its audit."""
