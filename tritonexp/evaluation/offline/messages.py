"""What the parent asks the compiling process, and what that one answers, each as one JSON text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tritonexp.records import CompiledKernel, Size, Status


@dataclass(frozen=True, kw_only=True)
class TensorShape:
    """A contiguous tensor to call with."""

    kind: Literal["tensor"] = "tensor"
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ScalarValue:
    """A number to call with."""

    kind: Literal["scalar"] = "scalar"
    value: bool | int | float


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the function, with what its kernels are to be labelled with."""

    size: Size
    dtype: str
    arguments: tuple[TensorShape | ScalarValue, ...]


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What the child reads from its standard input."""

    source_path: str
    entry_point: str
    target: str
    calls: tuple[Call, ...]
    # None for no sandbox; else the modules that must not be readable in it
    hidden: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class CompileFailure:
    """Why a file, or a call of its function, could not be compiled to the end.

    A RUNTIME_ERROR or IMPORT_ERROR may be the stand-in's limit rather than the file's fault.
    """

    status: Status
    reason: str
    log: str


@dataclass(frozen=True, kw_only=True)
class CompileAnswer:
    """What the child answers: the kernels, and the first failure."""

    kernels: tuple[CompiledKernel, ...]
    error: CompileFailure | None


def failed(status: Status, reason: str, log: str = "") -> CompileAnswer:
    """Answer that nothing was compiled."""
    return CompileAnswer(kernels=(), error=CompileFailure(status=status, reason=reason, log=log))
