"""What the compare stage does: sets a base beside its composition, as a section of a page."""
