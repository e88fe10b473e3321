"""What the report stage does: puts sections and the picture of the workflow on one page."""
