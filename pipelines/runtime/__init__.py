"""What every stage stands on: settings, launch on Ray, checkpoints, tracking, outputs."""
