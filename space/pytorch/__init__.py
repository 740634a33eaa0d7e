"""Networks as torch modules: the only part of `space`, with `interchange`, that imports torch."""
