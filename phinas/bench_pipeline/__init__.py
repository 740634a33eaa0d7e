"""The runs of `phinas bench`, and the checks before them."""
