"""What training leaves behind: models that sample and, where it exists, tell ``log_prob``."""
