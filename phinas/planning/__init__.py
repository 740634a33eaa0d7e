"""What a run is going to cost: its trainings, their duration, and a run that fits a time budget."""
