"""A kernel of Triton's official tutorials as a human expert's: called, unaltered, and not copied.

The tutorials come in no package. Their files test and benchmark themselves when they are imported,
so a worker is given what its function needs of the file, every line where it was (see
extraction.py), with an entry point of ours after the last line.

Does not cover what a tutorial's kernel cannot do: softmax needs a row's buffers to fit into shared
memory, and layer norm a row of at most 64 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tritonexp.records import Implementation, Provenance, Role
from tritonexp.tutorials import finding
from tritonexp.tutorials.extraction import reduced
from tritonexp.tutorials.finding import private_paths

__all__ = ["ANNOUNCEMENT", "Tutorial", "implementation_of", "private_paths"]

ANNOUNCEMENT = "# tritonexp calls it like this; all above stands in the tutorial"


@dataclass(frozen=True, kw_only=True)
class Tutorial:
    """An entry of EXPERTS: how an operation's arguments are given to a tutorial's function."""

    file: str  # as in 02-fused-softmax.py
    sha256: str  # of the file at finding.COMMIT
    call: str  # an expression of the operation's arguments and of names that the file defines
    name: str = "tutorial"
    licence: str = "MIT"


def implementation_of(
    tutorial: Tutorial, signature: str, path: str | None = None
) -> tuple[Implementation, Path]:
    """The tutorial's function under the operation's signature, and the file that it was taken from.

    `path` is the file, or a folder that holds it; without it, TRITON_TUTORIALS says so, or the
    pinned file is downloaded and kept. Raises ConfigError for a path that does not lead to the
    file, and ExpertError where the file cannot be had or lacks the function.
    """
    found = finding.find(tutorial.file, tutorial.sha256, path)
    entry_point = f"{tutorial.name}_{signature.partition('(')[0]}"
    parameters = signature[signature.index("(") :]
    entry = f"def {entry_point}{parameters}:\n    return {tutorial.call}\n"
    kept = reduced(found.text, entry, str(found.path))
    implementation = Implementation(
        name=tutorial.name,
        role=Role.EXPERT,
        source=f"{kept.rstrip()}\n\n\n{ANNOUNCEMENT}\n{entry}",
        entry_point=entry_point,
        provenance=Provenance(
            origin="tutorial",
            name=tutorial.file,
            version=found.version,
            licence=tutorial.licence,
            location=found.location,
            sha256=found.sha256,
        ),
    )
    return implementation, found.path
