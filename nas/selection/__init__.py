"""From all trials to one baseline network."""
