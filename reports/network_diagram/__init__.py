"""A network drawn from image to classes: what is drawn (`columns`), with which marks (`glyphs`),
how large (`scale`), and the drawing itself (`drawing`)."""
