"""The walls between the rooms: who may import whom, and which room may import which library.

Found in the source text, so an import inside a function counts; what is imported by a computed
name is not seen.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tritonexp"

CONTRACT = {"records", "errors"}
# a room -> the rooms of ours that it may import; itself is always allowed
MAY_IMPORT = {
    "records": set(),
    "errors": set(),
    "statistics": CONTRACT,
    "protocols": CONTRACT,
    "operations": CONTRACT | {"tutorials"},
    "tutorials": CONTRACT | {"user_cache"},
    "user_cache": {"errors"},
    "config": CONTRACT | {"config_checks"},
    "config_checks": CONTRACT | {"config"},
    "report": CONTRACT | {"statistics"},
    "tracking": CONTRACT,
    "prompting": CONTRACT,
    "generation": CONTRACT | {"protocols"},
    "strategies": CONTRACT | {"protocols", "generation.extraction"},
    "evaluation": CONTRACT | {"operations", "statistics", "user_cache"},
    "jobs": CONTRACT | {"report"},
    "answers": CONTRACT | {"protocols"} | {"generation.wrapping"},
    "recorded": CONTRACT | {"jobs", "statistics"},
    "commands": {"config"},
    "terminal": {"records", "report", "study", "config"}
    | {"jobs", "answers", "recorded", "commands"},
    "redteam": CONTRACT | {"protocols", "operations", "statistics", "evaluation", "report.words"},
    "study": None,
    "sweep": CONTRACT
    | {"protocols", "config", "operations", "strategies", "generation.asking"}
    | {"answers", "recorded"},
    "callbacks": {"study", "sweep", "config", "errors", "jobs", "commands"},
    "cli": None,
    "__main__": {"cli"},
    "run.py": {"study", "sweep", "config", "errors", "callbacks", "terminal", "jobs"},
}
# a library -> the modules that may import it
ONLY_IN = {
    "hydra": {"run.py", "config", "callbacks"},
    "omegaconf": {"run.py", "config", "callbacks"},
    "mlflow": {"tracking"},
    "anthropic": {"generation.anthropic_provider"},
    "httpx2": {"generation.anthropic_provider"},
    "torch": {"evaluation", "operations"},
    "triton": {"evaluation", "operations"},
    "liger_kernel": set(),
    "jinja2": {"prompting"},
    "matplotlib": {"report"},
}
# what takes long to import, and so is imported where it is used, outside of evaluation
HEAVY = {"anthropic", "jinja2", "matplotlib", "mlflow", "pydantic", "rich", "scipy", "yaml"}


def modules() -> list[Path]:
    """Every module of the package, and run.py."""
    return [ROOT / "run.py", *sorted(PACKAGE.rglob("*.py"))]


def name_of(path: Path) -> str:
    """Give a module's dotted name inside the package, such as generation.settings."""
    if path == ROOT / "run.py":
        return "run.py"
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, *, top_level: bool = False) -> set[str]:
    """Dotted names that a module imports; `from a import b` gives both a and a.b."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole name"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def allows(allowed: set[str], name: str) -> bool:
    """Whether a dotted name is an allowed one or inside an allowed one."""
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def ids(path: Path) -> str:
    """Name a parametrised module."""
    return name_of(path) or "tritonexp"


def strangers(path: Path) -> set[str]:
    """Rooms of ours that a module imports and may not."""
    own = name_of(path)
    room = own if own == "run.py" else own.partition(".")[0]
    if room == "":
        return {name for name in imported(path) if name.startswith("tritonexp")}
    allowed = MAY_IMPORT[room]
    if allowed is None:
        return set()
    rooms = {one.name.removesuffix(".py") for one in PACKAGE.iterdir()}
    ours = {
        name.removeprefix("tritonexp.") for name in imported(path) if name.startswith("tritonexp.")
    }
    # names such as __version__ are the package's own and no room
    ours = {name for name in ours if name.partition(".")[0] in rooms}
    # `from tritonexp.generation.extraction import f` names the package on the way
    passed = {name for name in ours if any(one.startswith(f"{name}.") for one in allowed)}
    return {name for name in ours - passed if not allows({*allowed, room}, name)}


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_a_room_imports_only_the_rooms_it_may(path):
    """Each module imports no other room than the design lets it."""
    assert strangers(path) == set()


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_a_library_is_imported_only_in_its_room(path):
    """Hydra, MLflow, the SDK, torch and the rest each stay behind one wall."""
    libraries = {name.partition(".")[0] for name in imported(path)}
    wrong = {
        library
        for library, rooms in ONLY_IN.items()
        if library in libraries and not allows(rooms, name_of(path))
    }
    assert wrong == set()


@pytest.mark.parametrize(
    "path", [path for path in modules() if not name_of(path).startswith("evaluation")], ids=ids
)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    """No module outside of evaluation pays for a slow library when it is imported."""
    libraries = {name.partition(".")[0] for name in imported(path, top_level=True)}
    assert libraries & HEAVY == set()


def test_the_walls_catch_a_breach(tmp_path, monkeypatch):
    """A lazy import of mlflow and of the study in a room of the report is found."""
    room = tmp_path / "report"
    room.mkdir()
    (tmp_path / "study.py").touch()
    module = room / "__init__.py"
    module.write_text(
        "def f():\n    import mlflow.client\n    from tritonexp.study import run_study\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert "study" in strangers(module)
    assert "mlflow.client" in imported(module)
    assert not allows(ONLY_IN["mlflow"], name_of(module))


def test_every_room_has_a_rule():
    """A new room cannot appear without saying whom it may import."""
    rooms = {name_of(path).partition(".")[0] for path in modules() if name_of(path) != "run.py"}
    assert rooms - {""} <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    "code",
    [
        "import tritonexp.report, tritonexp.config",
        "import tritonexp.config; tritonexp.config.compose(['model=opus'])",
        "import tritonexp.tracking, tritonexp.jobs, tritonexp.cli",
        "import tritonexp.answers, tritonexp.recorded, tritonexp.commands, tritonexp.terminal",
        "import tritonexp.generation, tritonexp.prompting, tritonexp.strategies",
        "import tritonexp.redteam.bench, tritonexp.redteam.document",
        """
import sys, runpy
sys.argv = ["run.py", "--help"]
try:
    runpy.run_path("run.py", run_name="__main__")
except SystemExit as end:
    assert end.code in (0, None), end.code
""",
    ],
)
def test_torch_is_not_imported_without_need(code):
    """The help, the configuration, reports and tracking work without torch and mlflow."""
    ending = (
        "\nimport sys\nfound = {'torch', 'triton', 'mlflow', 'anthropic'} & set(sys.modules)\n"
        "assert not found, found"
    )
    result = subprocess.run(
        [sys.executable, "-c", code + ending], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
