"""Read the files that cheat, and the honest ones, with what the referee must find of each.

A fixture is a candidate file, cheats/<family>/<name>.py or honest/<name>.py, whose docstring says
what it does and ends in a paragraph of its own:

    operation: softmax
    status: INCORRECT or STALE_RESULT
    interpreter: INCORRECT

`status` names what the referee must find on a GPU, `interpreter` what without one; a fixture that
has no such line is left out there. A line `alone:` names what it takes of the machine, for which
reason nothing else is judged beside it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tritonexp import operations
from tritonexp.errors import ConfigError
from tritonexp.records import Implementation, Mode, Provenance, Role, Status, sha256_of
from tritonexp.report import words

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "redteam"

CHEATS, HONEST = "cheats", "honest"
# of cheats that are after the referee itself rather than after a verdict
ATTACK = "attack"
HEADER = ("operation", "status", "interpreter", "alone")


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """A candidate file, and what the referee must find of it."""

    path: Path
    family: str  # a folder of cheats/, or honest
    operation: str
    statuses: tuple[Status, ...]
    interpreter_statuses: tuple[Status, ...]  # () where it needs a GPU
    alone: str  # what it takes of the machine; "" where others can be judged beside it
    text: str  # its docstring without the header, on one line
    source: str

    @property
    def name(self) -> str:
        """As in attack/sleeps."""
        return f"{self.family}/{self.path.stem}"

    @property
    def is_cheat(self) -> bool:
        """Whether it must not be CORRECT; else it must."""
        return self.family != HONEST

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        return re.split(r"(?<=\.)\s", self.text, maxsplit=1)[0]

    @property
    def sha256(self) -> str:
        """Hash of the source text."""
        return sha256_of(self.source)

    def named(self, mode: Mode) -> tuple[Status, ...]:
        """The statuses that are right; () where it cannot be judged."""
        return self.statuses if mode is Mode.GPU else self.interpreter_statuses

    def candidate(self) -> Implementation:
        """The file as the referee takes it."""
        return Implementation(
            name="candidate",
            role=Role.CANDIDATE,
            source=self.source,
            entry_point=self.operation,
            provenance=Provenance(
                origin="file", name=self.path.name, version=None, licence=None, location=None
            ),
        )


def read(path: Path, folder: Path) -> Fixture:
    """Read a fixture of a folder; raises ConfigError, which names the file, for a bad header."""
    family = _family(path, folder)
    try:
        source = path.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} is no Python file: {error}; correct it.") from error
    if docstring is None:
        raise ConfigError(
            f"{path} has no docstring; a fixture's says what it does and ends in a paragraph with"
            f" the lines {_lines(HEADER[:2])}."
        )
    text, _, header = docstring.rpartition("\n\n")
    fields = _fields(path, header)
    if not text.strip():
        raise ConfigError(
            f"{path} does not say what it does; put a sentence and an empty line above the header."
        )
    if fields["operation"] not in operations.names():
        raise ConfigError(
            f"{path} is for the operation {fields['operation']!r}; there are"
            f" {', '.join(operations.names())}."
        )
    named = {key: _statuses(path, key, fields[key]) for key in HEADER[1:3] if key in fields}
    for key, statuses in named.items():
        if family == HONEST and statuses != (Status.CORRECT,):
            raise ConfigError(
                f"{path} has {key}: {fields[key]}, but an honest kernel is CORRECT; correct it, or"
                f" move the file to {CHEATS}/<family>/."
            )
        if family != HONEST and Status.CORRECT in statuses:
            raise ConfigError(
                f"{path} has {key}: {fields[key]}, but a cheat is never to be CORRECT; name what"
                " must catch it, and leave the line interpreter: out where only a GPU can."
            )
    return Fixture(
        path=path,
        family=family,
        operation=fields["operation"],
        statuses=named["status"],
        interpreter_statuses=named.get("interpreter", ()),
        alone=fields.get("alone", ""),
        text=" ".join(text.split()),
        source=source,
    )


def read_folder(folder: Path, only: str | None = None) -> tuple[Fixture, ...]:
    """Read the fixtures of a folder whose path ends in what a glob matches, such as attack/*.

    Raises ConfigError, for all bad headers at once, and where there is no fixture.
    """
    if not folder.is_dir():
        reason = (
            "the fixtures come with the project's repository and are not installed with the"
            " package, so run this from a clone, or give a folder"
            if folder == FOLDER
            else f"give a folder that holds {CHEATS}/<family>/*.py and {HONEST}/*.py"
        )
        raise ConfigError(f"there is no folder {folder}; {reason}.")
    found: list[Fixture] = []
    faults: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        try:
            found.append(read(path, folder))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    chosen = tuple(item for item in found if only is None or _is_match(item.path, only))
    if not chosen:
        families = ", ".join(sorted({item.family for item in found})) or "none"
        that = "" if only is None else f" that --only {only!r} matches"
        raise ConfigError(
            f"{folder} has no fixture{that}; its families are: {families}. One is chosen as in"
            f" --only '{ATTACK}/*'."
        )
    return chosen


def applying(fixtures: Sequence[Fixture], mode: Mode) -> tuple[Fixture, ...]:
    """The fixtures that can be judged, by operation; raises ConfigError where there is none."""
    found = [fixture for fixture in fixtures if fixture.named(mode)]
    if not found:
        raise ConfigError(
            f"of {words.plural(len(fixtures), 'fixture')} none can be judged without a GPU; run"
            " on a machine with one, or choose fixtures with a line interpreter:."
        )
    return tuple(sorted(found, key=lambda fixture: fixture.operation))


def _family(path: Path, folder: Path) -> str:
    match path.relative_to(folder).parent.parts:
        case (only,) if only == HONEST:
            return HONEST
        case (first, family) if first == CHEATS and family != HONEST:
            return family
    raise ConfigError(
        f"{path} lies neither in {CHEATS}/<family>/ nor in {HONEST}/ of {folder}; move it there, or"
        " give the folder that holds both and choose by --only."
    )


def _fields(path: Path, header: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in header.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key not in HEADER or not value:
            raise ConfigError(
                f"{path} has the line {line!r} in its docstring's last paragraph, which holds"
                f" {_lines(HEADER)} and nothing else; put an empty line above the header."
            )
        if key in fields:
            raise ConfigError(
                f"{path} has the line {key}: twice; give one, with several statuses joined by or."
            )
        fields[key] = value
    for key in HEADER[:2]:
        if key not in fields:
            raise ConfigError(
                f"{path} has no line {key}: in its docstring's last paragraph; add one, as in"
                f" {'softmax' if key == 'operation' else 'INCORRECT or STALE_RESULT'}."
            )
    return fields


def _statuses(path: Path, key: str, value: str) -> tuple[Status, ...]:
    names = value.split(" or ")
    for name in names:
        if name not in Status.__members__:
            raise ConfigError(
                f"{path} has {key}: {value}, but there is no status {name!r}; there are"
                f" {', '.join(Status)}, and several are joined by or."
            )
    return tuple(Status[name] for name in names)


def _lines(keys: Sequence[str]) -> str:
    return ", ".join(f"{key}:" for key in keys)


def _is_match(path: PurePath, glob: str) -> bool:
    return path.match(glob) or path.with_suffix("").match(glob)
