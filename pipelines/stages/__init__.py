"""One module a DVC stage: the stage's name is the module's name and the params section's name."""
