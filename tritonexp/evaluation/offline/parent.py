"""The parent's side of compiling: the request, and the process that it starts, watches and ends.

Not covered: a file that writes an answer of its own; an answer is checked for form only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from tritonexp.evaluation import sandbox
from tritonexp.evaluation.offline.messages import (
    Call,
    CompileAnswer,
    CompileFailure,
    CompileRequest,
    ScalarValue,
    TensorShape,
    failed,
)
from tritonexp.evaluation.offline.targets import check_target
from tritonexp.operations import Spec, TensorArgument
from tritonexp.records import CompiledKernel, Implementation, Size, Status, from_json, to_json

# an answer beyond this is not one of ours
MAX_ANSWER_BYTES = 8 << 20


def compile_for(
    implementation: Implementation,
    spec: Spec,
    sizes: Sequence[Size],
    dtype: str,
    target: str = "sm_90",
    timeout_s: float = 120.0,
    hidden: tuple[str, ...] | None = (),
) -> tuple[tuple[CompiledKernel, ...], CompileFailure | None]:
    """Compile an implementation's kernels at some sizes in a process of its own.

    It is confined as a worker is, and cannot read the modules that are `hidden`; None for no
    sandbox.

    The kernels are those of every call, also where one failed; the failure is the first one.
    A kernel that does not fit the target is no failure: its `fits` is False and it has a reason.
    Raises ConfigError for an unknown target.
    """
    check_target(target)
    folder = Path(tempfile.mkdtemp(prefix="tritonexp-offline-"))
    try:
        source_path = folder / "candidate.py"
        source_path.write_text(implementation.source)
        request = CompileRequest(
            source_path=str(source_path),
            entry_point=implementation.entry_point,
            target=target,
            calls=tuple(call_of(spec, size, dtype) for size in sizes),
            hidden=hidden,
        )
        answer = _ask_child(to_json(request).encode(), folder, timeout_s)
    finally:
        sandbox.remove(folder)
    return answer.kernels, answer.error


def call_of(spec: Spec, size: Size, dtype: str) -> Call:
    """Say how a spec calls its function at a size and dtype."""
    arguments: list[TensorShape | ScalarValue] = []
    for argument in spec.arguments:
        if isinstance(argument, TensorArgument):
            arguments.append(
                TensorShape(
                    shape=spec.shape_of(argument.shape, size),
                    dtype=_dtype_of(argument, spec, dtype),
                )
            )
        else:
            arguments.append(ScalarValue(value=argument.value))
    return Call(size=size, dtype=dtype, arguments=tuple(arguments))


def _dtype_of(argument: TensorArgument, spec: Spec, dtype: str) -> str:
    if argument.fill is None:
        return dtype
    import torch

    # an argument that fills itself, such as labels, has a dtype of its own: a small one tells it
    small = spec.size(spec.interpreter[0])
    tensor = argument.fill(small, getattr(torch, dtype), torch.Generator().manual_seed(0), "cpu")
    return str(tensor.dtype).removeprefix("torch.")


def _ask_child(request: bytes, folder: Path, timeout_s: float) -> CompileAnswer:
    environment = sandbox.environment(folder, interpret=False) | {
        "TRITON_CACHE_DIR": str(folder / "triton"),
        # the answer must not depend on what this machine has
        "CUDA_VISIBLE_DEVICES": "",
    }
    # files, not pipes: a process that outlives its group cannot keep the reader waiting; and
    # without names, which the file could give to another file or to a pipe
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(request)
        stdin.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "tritonexp.evaluation.offline.child"],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        in_time = sandbox.watch(child, timeout_s)
        text = _head(stdout)
        log = _tail(stderr)
    if not in_time:
        return failed(Status.TIMEOUT, f"compiling took longer than {timeout_s:g} s", log)
    try:
        answer = from_json(CompileAnswer, text)
    except ValueError:
        return failed(
            Status.CRASHED,
            f"the process ended with status {child.returncode} and without an answer",
            log,
        )
    if answer.error is None:
        return answer
    # MLIR and ptxas write what they have against a kernel to standard error only
    error = replace(answer.error, log=f"{answer.error.log}\n{log}".strip())
    return replace(answer, error=error)


def _head(file: IO[bytes]) -> bytes:
    return os.pread(file.fileno(), MAX_ANSWER_BYTES, 0)


def _tail(file: IO[bytes]) -> str:
    begin = max(0, os.fstat(file.fileno()).st_size - sandbox.LOG_BYTES)
    return os.pread(file.fileno(), sandbox.LOG_BYTES, begin).decode(errors="replace").strip()
