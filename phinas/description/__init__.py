"""What `phinas describe` shows of a network: its stages, its cost, a drawing, a comparison."""
