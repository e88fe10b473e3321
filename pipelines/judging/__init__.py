"""What the evaluate stage does for each kind of data: gathers arrays, calls metrics and plots."""
