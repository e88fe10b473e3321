"""Credentials stay out of settings, messages, logs and MLflow.

An address such as ``https://user:password@server`` carries a password to wherever it is shown. It
is refused in params.yaml, which is in git; one from the environment is taken apart before use.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit, urlunsplit

# All between :// and the last @ before the path: a raw @ in a password is not cut in two.
_USERINFO = re.compile(r"(?<=://)[^\s/]*@")


def masked(text: str) -> str:
    """Hide users and passwords of all addresses in a text.

    >>> masked("MLflow at https://me:secret@server:5000/x is down")
    'MLflow at https://***@server:5000/x is down'
    """
    return _USERINFO.sub("***@", text)


def has_credentials(address: str) -> bool:
    """Whether an address names a user or a password."""
    return _USERINFO.search(address) is not None


def tracking_address(given: str) -> str:
    """Take user and password out of an MLflow server's address, into MLflow's own variables.

    MLflow prints its server's address, and exceptions quote it. ``MLFLOW_TRACKING_USERNAME`` and
    ``MLFLOW_TRACKING_PASSWORD`` are sent all the same and printed nowhere.

    Args:
        given: an address. Those of databases (``postgresql://...``) are given back as they are:
            MLflow prints them nowhere, and needs the password in its place.

    Returns:
        The address without credentials.
    """
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return given
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if os.environ.get("MLFLOW_TRACKING_URI") == given:
        os.environ["MLFLOW_TRACKING_URI"] = plain
    return plain
