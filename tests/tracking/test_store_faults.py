import contextlib
import http.server
import os
import resource
import shutil
import socket
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from tritonexp.errors import TrackingError
from tritonexp.tracking import Store, library, local

# mlflow's own, of pandas and SQLAlchemy
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def unprivileged_folder(store):
    """Make a folder and become a user who may be refused; root may write anywhere."""
    # the open store has imported all that is needed, for later the packages may not be readable
    assert store.experiment_id
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    try:
        if is_root:
            folder.chmod(0o755)
            try:
                os.seteuid(65534)
            except OSError as error:
                pytest.skip(f"root cannot become another user here: {error}")
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


@contextlib.contextmanager
def as_root_again():
    """Do what only the first user may do, inside the fixture above."""
    euid = os.geteuid()
    os.seteuid(os.getuid())
    try:
        yield
    finally:
        os.seteuid(euid)


def test_read_only_folder_is_refused(unprivileged_folder):
    """A folder that cannot be written is named, with the reason, and nothing is made in it."""
    with as_root_again():
        unprivileged_folder.chmod(0o555)
    with pytest.raises(TrackingError, match=r"cannot be written: Permission denied\. Make"):
        Store.open(unprivileged_folder)
    assert list(unprivileged_folder.iterdir()) == []


def test_read_only_database_is_refused(unprivileged_folder):
    """A writable folder with a database that may only be read is refused before any run."""
    with as_root_again():
        unprivileged_folder.chmod(0o777)
        (unprivileged_folder / "mlflow.db").touch()
        with contextlib.closing(sqlite3.connect(unprivileged_folder / "mlflow.db")) as database:
            database.execute("CREATE TABLE runs (id)")
        (unprivileged_folder / "mlflow.db").chmod(0o444)
    with pytest.raises(TrackingError, match="cannot be opened for writing: attempt to write a"):
        Store.open(unprivileged_folder)


def test_folder_below_a_file_is_refused(tmp_path):
    """A path through a file cannot become a folder, for nobody."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="cannot be written: Not a directory"):
        Store.open(tmp_path / "file" / "mlruns")


def test_folder_that_is_a_file_is_refused(tmp_path):
    """A file in the folder's place is named."""
    (tmp_path / "mlruns").write_text("")
    with pytest.raises(TrackingError, match="mlruns cannot be written: File exists"):
        Store.open(tmp_path / "mlruns")


def test_file_that_is_no_database_is_refused_and_kept(tmp_path):
    """An mlflow.db that is something else is left as it is."""
    content = b"this is not a database, and somebody may need it\n" * 100
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(TrackingError, match=r"mlflow\.db is not a SQLite database"):
        Store.open(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == content


def test_database_that_is_a_folder_is_refused(tmp_path):
    """A folder in the database's place is named."""
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(TrackingError, match="unable to open database file"):
        Store.open(tmp_path)


def test_another_programs_database_is_refused_and_kept(tmp_path):
    """MLflow's tables are not written into a database that holds others."""
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE invoices (id)")
    with pytest.raises(TrackingError, match=r"another program's database \(invoices\)"):
        Store.open(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("invoices",)]


def test_newer_schema_is_refused(tmp_path):
    """A store of a newer MLflow is told from a foreign one, by its schema's revision."""
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        for table in ("experiments (id)", "runs (id)", "alembic_version (version_num)"):
            database.execute(f"CREATE TABLE {table}")
        database.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        database.commit()
    with pytest.raises(TrackingError, match=r"newer MLflow \(schema ffffffffffff\)"):
        Store.open(tmp_path)


def test_old_file_layout_is_refused(tmp_path):
    """Runs in MLflow's old files are not hidden behind a new database."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "meta.yaml").write_text("name: Default\n")
    with pytest.raises(TrackingError, match=r"old file layout \(0/meta.yaml\)"):
        Store.open(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_path_that_no_address_can_hold_is_refused(tmp_path):
    """SQLite addresses decode % and cut at ?, which would open another file."""
    with pytest.raises(TrackingError, match=r"has % and \? in its path"):
        Store.open(tmp_path / "50%?")


def test_full_disk_is_said_before_anything_is_measured(tmp_path, monkeypatch):
    """Too little room for a run is found when the store is opened."""
    monkeypatch.setattr(local.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(TrackingError, match=r"is full: 3\.0 MiB are free and at least 32 MiB"):
        Store.open(tmp_path)


def test_disk_that_fills_up_while_logging_keeps_the_record(store, make_job):
    """An error halfway names the kept record; with room again the same call logs it."""
    folder = make_job(sweep="sweep-1")
    (folder / "response.md").write_text("x" * 16_000_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, limits[1]))
    try:
        with pytest.raises(TrackingError, match=f"is kept in {folder} and can be logged again"):
            store.log(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.log(folder)
    assert len(store.records("sweep-1")) == 1


def test_empty_database_file_is_replaced(tmp_path):
    """What a crash at the first moment leaves of a database is no obstacle."""
    (tmp_path / "mlflow.db").touch()
    assert Store.open(tmp_path).sweeps() == []


def test_deleted_experiment_is_named(shared_store, store, tmp_path):
    """An experiment in the trash takes no runs; the message says how to restore it."""
    MlflowClient(tracking_uri=store.uri).delete_experiment(store.experiment_id)
    restore = rf"MLFLOW_TRACKING_URI='{store.uri}' .* --experiment-id {store.experiment_id}"
    with pytest.raises(TrackingError, match=f"'{tmp_path.name}' was deleted .*{restore}"):
        Store.open(shared_store, experiment=tmp_path.name)


def test_lost_artifacts_are_named(shared_store, store, make_job):
    """Records whose files are gone are an error that names the run, not a shorter list."""
    run_id = store.log(make_job(sweep="sweep-1"))
    shutil.rmtree(shared_store / "artifacts" / run_id)
    with pytest.raises(TrackingError, match=rf"run {run_id} has no readable record\.json"):
        store.records("sweep-1")


@pytest.mark.parametrize("content", [None, "", "{}", "no json"])
def test_folder_without_a_readable_record_is_refused(store, tmp_path, content):
    """What is no job folder makes no run."""
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(TrackingError, match=r"record\.json (cannot be read|is no record)"):
        store.log(tmp_path)
    assert MlflowClient(tracking_uri=store.uri).search_runs([store.experiment_id]) == []


@pytest.mark.parametrize("uri", ["ftp://host", "mlruns", "sqlite:///other.db"])
def test_uri_that_is_no_servers_address_is_refused(tmp_path, uri):
    """Only a server's address is taken; the local store is chosen by its folder."""
    with pytest.raises(TrackingError, match="it must begin with http:// or https://"):
        Store.open(tmp_path, uri=uri)


def test_unreachable_server_is_said_within_seconds(tmp_path):
    """A port where nobody listens ends in one sentence with the address."""
    with socket.socket() as taken:
        # bound and not listening, so that nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        reason = r"cannot be used: \[Errno \d+\] Connection refused\. Check"
        with pytest.raises(TrackingError, match=f"MLflow server at {address} {reason}"):
            Store.open(tmp_path, uri=address)
    assert time.monotonic() - started < 30


def test_server_that_is_not_mlflow_is_refused(tmp_path):
    """A web server that answers everything with a page is not taken for a store."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(TrackingError, match="the MLflow server at"):
                Store.open(tmp_path, uri=f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            (
                "Pool(host='x', port=80): Max retries exceeded with url: /api (Caused by"
                " NewConnectionError('<conn>: Failed to establish a new connection: [Errno 111]"
                " Connection refused'))"
            ),
            "[Errno 111] Connection refused.",
        ),
        (
            (
                "Pool(host='x', port=80): Max retries exceeded with url: /api (Caused by"
                " NameResolutionError(\"<conn>: Failed to resolve 'x' ([Errno -2] Name or service"
                ' not known)"))'
            ),
            "Failed to resolve 'x' ([Errno -2] Name or service not known).",
        ),
        ("it is locked\nand more", "it is locked."),
    ],
)
def test_reason_of_an_error_is_told_whole(raised, said):
    """Without what it was wrapped in, and with the brackets that it opened."""
    assert library.first_line(OSError(raised)) == said
