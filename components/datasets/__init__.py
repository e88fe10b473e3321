"""Data sets: the catalogue and its sources, toy densities, shards on disk, batches in memory."""
