"""The local store on disk: <folder>/mlflow.db (SQLite) and <folder>/artifacts.

What is wrong with a folder is found here with the standard library, before mlflow is imported:
mlflow itself would retry an unreadable database for minutes and write its tables into another
program's. Does not cover damage inside a database whose header and schema are sound, nor two
machines that write to one folder over a network file system.
"""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tritonexp.errors import TrackingError

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
# mlflow's tables take 1 MiB, a run with its plots less than that
MIN_FREE_BYTES = 32 * 2**20
LOCK_TIMEOUT_S = 60.0
ELSEWHERE = "Name another folder, or move this one away."


def uri_of(folder: Path) -> str:
    """The tracking URI of a folder's database, by its absolute path."""
    return f"sqlite:///{folder.resolve() / DATABASE}"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder that is known to be usable, so that one process at a time creates its store.

    Raises TrackingError when the folder or the database in it cannot be used.
    """
    from filelock import FileLock, Timeout

    _refuse_unwritable(folder)
    lock = FileLock(folder / f"{DATABASE}.lock", timeout=LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except (OSError, NotImplementedError, Timeout) as error:
        raise TrackingError(
            f"the store in {folder} cannot be locked within {LOCK_TIMEOUT_S:.0f} s: {error}."
            " End the process that holds it, or name a folder on a local disk."
        ) from error
    try:
        _check_layout(folder)
        _refuse_unwritable(folder / ARTIFACTS)
        yield
    finally:
        lock.release()


def is_absent(folder: Path) -> bool:
    """Whether there is no database yet; an empty file is what a crash can leave of one."""
    path = folder / DATABASE
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def _refuse_unwritable(folder: Path) -> None:
    """Create a folder if need be and write to it; raises TrackingError where that fails."""
    if unreadable := sorted(set("%?") & set(str(folder.resolve()))):
        raise TrackingError(
            f"the store's folder {folder} has {' and '.join(unreadable)} in its path, which a"
            " database address cannot hold. Name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # tried, not asked: permission bits do not tell of a read-only mount
        with tempfile.TemporaryFile(dir=folder):
            pass
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise TrackingError(
            f"the store's folder {folder} cannot be written: {error.strerror or error}."
            " Make it a writable folder, or name another."
        ) from error
    if free_bytes < MIN_FREE_BYTES:
        raise TrackingError(
            f"the disk of the store's folder {folder} is full: {free_bytes / 2**20:.1f} MiB are"
            f" free and at least {MIN_FREE_BYTES / 2**20:.0f} MiB are needed."
            " Free some, or name a folder on another disk."
        )


def _check_layout(folder: Path) -> None:
    if not is_absent(folder):
        _check_database(folder / DATABASE)
        return
    if old := [*folder.glob("meta.yaml"), *folder.glob("*/meta.yaml")]:
        raise TrackingError(
            f"{folder} holds runs in MLflow's old file layout ({old[0].relative_to(folder)}), which"
            f" MLflow no longer writes. {ELSEWHERE}"
        )


def _check_database(path: Path) -> None:
    """Open, read and try to write; raises TrackingError for what is not an MLflow database."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
            revision = None
            if "alembic_version" in tables:
                revision = database.execute("SELECT version_num FROM alembic_version").fetchone()
            # only a write tells: BEGIN IMMEDIATE alone succeeds on a read-only file
            (version,) = database.execute("PRAGMA user_version").fetchone()
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"PRAGMA user_version = {version}")
            database.rollback()
    except sqlite3.OperationalError as error:
        raise TrackingError(
            f"the store {path} cannot be opened for writing: {error}."
            " Give yourself the right to write it and close what locks it, or name another folder."
        ) from error
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path} is not a SQLite database, or is damaged: {error}. {ELSEWHERE}"
        ) from error
    if revision is None or not {"experiments", "runs"} <= tables:
        found = ", ".join(sorted(tables)[:5]) or "no tables"
        raise TrackingError(
            f"{path} is another program's database ({found}), not MLflow's. {ELSEWHERE}"
        )
    if not _is_known(revision[0]):
        raise TrackingError(
            f"{path} was written by a newer MLflow (schema {revision[0]}) than the one installed."
            f" Install that version, or name another folder."
        )


def _is_known(revision: str) -> bool:
    # read from the migrations' file names: importing mlflow to ask it takes 1.5 s
    mlflow = importlib.util.find_spec("mlflow")
    if mlflow is None or mlflow.origin is None:
        raise TrackingError("mlflow is not installed. Install the project's dependencies again.")
    versions = Path(mlflow.origin).parent / "store" / "db_migrations" / "versions"
    return any(versions.glob(f"{revision}_*.py"))
