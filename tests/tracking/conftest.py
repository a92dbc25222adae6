from collections.abc import Callable
from pathlib import Path
from typing import Any

import builders as build
import pytest

from tritonexp.records import to_json
from tritonexp.tracking import Store


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store once, in a folder whose name has a space; its tables take a second."""
    folder: Path = tmp_path_factory.mktemp("tracking") / "ml runs"
    Store.open(folder)
    return folder


@pytest.fixture
def store(shared_store: Path, tmp_path: Path) -> Store:
    """Open an experiment of the test's own."""
    return Store.open(shared_store, experiment=tmp_path.name)


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Path]:
    """Give a maker of job folders: a record.json and the artifacts that go with it."""

    def make(study_id: str = "study-1", **fields: Any) -> Path:
        timed = {"evaluation": build.gpu_evaluation(), "study_id": study_id}
        folder = tmp_path / "jobs" / study_id
        (folder / "plots").mkdir(parents=True)
        (folder / "record.json").write_text(to_json(build.record(**timed | fields)))
        for name in ("prompt.md", "response.md", "candidate.py", "config.yaml", "report.md"):
            (folder / name).write_text(f"{name} of {study_id}\n")
        (folder / "environment.json").write_text("{}\n")
        for name in ("comparison.png", "llm_vs_expert.png", "ceiling.png"):
            (folder / "plots" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        (folder / "scratch.txt").write_text("not an artifact\n")
        return folder

    return make
