"""The one error that is meant for the user's eyes."""

from __future__ import annotations


class UserError(Exception):
    """A wrong setting, file or data set: one line that says what is wrong and what to do.

    Stages print the message without a traceback and exit with status 2. Anything else that is
    raised is a defect of this project and keeps its traceback.
    """


class DivergedError(UserError):
    """A chain or a training ran away: its values are not finite, or no rollback cured it."""
