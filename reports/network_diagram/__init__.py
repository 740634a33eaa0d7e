"""A network drawn from image to classes: its columns (`columns`), their marks (`glyphs`), the scale
(`scale`), the drawing of one network (`panel`) and the figure (`drawing`).
"""
