"""The folder in which what was measured or downloaded once is kept for later runs."""

from __future__ import annotations

import os
from pathlib import Path

from tritonexp.errors import ConfigError


def cache_folder() -> Path:
    """TRITONEXP_CACHE, or tritonexp in the user's cache folder; it may not be there yet.

    Raises ConfigError for a user without a home folder.
    """
    chosen = os.environ.get("TRITONEXP_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "tritonexp"
    except RuntimeError as error:
        raise ConfigError(
            f"there is no folder to keep what is measured or downloaded once: {error}. Set"
            " TRITONEXP_CACHE to one that can be written."
        ) from error
