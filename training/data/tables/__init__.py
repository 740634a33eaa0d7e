"""Tables that say the path and the label of each image."""
