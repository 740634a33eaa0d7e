"""Search spaces: which networks a search may choose from, how they are encoded, counted and
sampled.
"""
