"""What the parent tells the process that ncu starts, as one JSON text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# that the process has measured before the file's own call
PRELUDE_KERNELS = 1


@dataclass(frozen=True, kw_only=True)
class TensorGiven:
    """A contiguous tensor to call with, of ordinary values unless a file holds others."""

    kind: Literal["tensor"] = "tensor"
    shape: tuple[int, ...]
    dtype: str
    path: str | None


@dataclass(frozen=True, kw_only=True)
class ScalarGiven:
    """A number to call with."""

    kind: Literal["scalar"] = "scalar"
    value: bool | int | float


@dataclass(frozen=True, kw_only=True)
class ProfileRequest:
    """One call that is to be measured."""

    source_path: str
    entry_point: str
    arguments: tuple[TensorGiven | ScalarGiven, ...]
    torch_compile: bool  # whether the function is to be wrapped in it
    # None for no sandbox; else the modules that must not be readable in it
    hidden: tuple[str, ...] | None
