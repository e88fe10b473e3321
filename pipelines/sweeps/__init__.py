"""What the sweep stage does: trials of other settings through Ray Tune, and what they show."""
