"""Trainings of the families that have several kinds of model: from settings to a task."""
