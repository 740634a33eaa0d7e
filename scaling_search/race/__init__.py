"""Racing the grid's networks to the best coefficients."""
