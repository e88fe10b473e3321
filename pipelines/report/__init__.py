"""What the report stage does: reads what the other stages left, and lays it out on one page."""
