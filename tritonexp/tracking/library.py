"""MLflow as a library: imported late, kept quiet, and its errors turned into one sentence.

Does not cover MLflow's fluent API (`mlflow.start_run` and the like): its global state is not safe
with several jobs in one process, so everything here goes through a client and explicit ids.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from tritonexp.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ERROR_LENGTH = 300
# mlflow's own defaults keep a dead server's caller waiting for minutes
HTTP_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def connect(uri: str) -> MlflowClient:
    """A client of a tracking URI; importing mlflow takes 1.5 s the first time."""
    _quieten()
    from mlflow import MlflowClient

    return cast("MlflowClient", MlflowClient(tracking_uri=uri))


@contextmanager
def explained(failure: str, advice: str) -> Iterator[None]:
    """Turn what MLflow, its database or the disk raise into a TrackingError of one line.

    `failure` says what could not be done, `advice` what to do next.
    """
    _quieten()
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # requests' exceptions are OSErrors
    except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
        raise TrackingError(f"{failure}: {first_line(error)} {advice}") from error


def _quieten() -> None:
    """Import mlflow with its telemetry off and its progress kept from the terminal."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name, value in HTTP_DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    # only now, since the import sets levels; hydra's root handler would print alembic's lines
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def first_line(error: Exception) -> str:
    """The first line of an exception's message, ended by a full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0]
    if "Caused by " in text:
        # urllib3 wraps the reason, such as a refused connection, in the address told four times
        text = text.rpartition("Caused by ")[2].rpartition(": ")[2]
        # what is left of the wrapping, but for a bracket that was opened within
        while text.endswith(('"', "'", ">")) or text.count(")") > text.count("("):
            text = text[:-1]
    return f"{text.strip().rstrip('.')[:ERROR_LENGTH]}."
