"""The scaled family, by phi or by budgets."""
