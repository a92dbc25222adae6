"""The process that imports an untrusted file and compiles what its function launches.

Started as `python -m tritonexp.evaluation.offline.child`, with a request on its standard input.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tritonexp.evaluation import confinement, sandbox
from tritonexp.evaluation.loading import load
from tritonexp.evaluation.offline.messages import (
    Call,
    CompileAnswer,
    CompileFailure,
    CompileRequest,
    TensorShape,
    failed,
)
from tritonexp.evaluation.offline.reasons import in_full, one_line
from tritonexp.evaluation.offline.recorder import Recorder
from tritonexp.evaluation.offline.stand_in import stand_in
from tritonexp.evaluation.offline.targets import check_target
from tritonexp.evaluation.offline.tensors import NoValuesError
from tritonexp.records import Status, from_json, to_json

_log = logging.getLogger(__name__)


def compile_file(
    source_path: Path, entry_point: str, calls: Sequence[Call], target: str
) -> CompileAnswer:
    """Compile every kernel that the calls launch; what is wrong with the file is in the answer.

    Runs the file in this process: `compile_for` is for files that are not trusted.
    Raises ConfigError for an unknown target.
    """
    check_target(target)
    try:
        compile(source_path.read_bytes(), str(source_path), "exec")
    except (SyntaxError, ValueError) as error:
        reason = f"the file cannot be parsed: {one_line(error)}"
        return failed(Status.SYNTAX_ERROR, reason, in_full(error))
    recorder = Recorder(target=target)
    with stand_in(recorder):
        try:
            module = load(str(source_path))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the file may raise anything
            status = Status.IMPORT_ERROR
            if recorder.is_compile_error(error):
                status = Status.COMPILE_ERROR
            reason = f"importing the file fails: {one_line(error)}"
            return failed(status, reason, in_full(error))
        function = getattr(module, entry_point, None)
        if not callable(function):
            return failed(
                Status.MISSING_ENTRY_POINT,
                f"the file defines no function {entry_point!r}; it must, at its top level.",
            )
        failures = [_call(function, call, recorder) for call in calls]
    failure = next((failure for failure in failures if failure is not None), None)
    return CompileAnswer(kernels=tuple(recorder.done), error=failure)


def arguments_of(call: Call) -> list[Any]:
    """What a call is made with, before a stand-in that has the tensors take no memory."""
    import torch

    return [
        torch.empty(item.shape, dtype=getattr(torch, item.dtype), device="cuda")
        if isinstance(item, TensorShape)
        else item.value
        for item in call.arguments
    ]


def _call(function: Callable[..., Any], call: Call, recorder: Recorder) -> CompileFailure | None:
    from triton.runtime.errors import OutOfResources

    where = f"at {call.size.label} {call.dtype}"
    recorder.begin(call)
    try:
        function(*arguments_of(call))
    except OutOfResources as error:
        # the kernel's own entry says so, with the figures
        _log.info("%s: %s", where, error)
        return None
    except NoValuesError as error:
        return CompileFailure(
            status=Status.RUNTIME_ERROR,
            reason=f"{where} the function needs values that exist only on a GPU ({error});"
            " its kernels after that are not compiled, try it on a GPU.",
            log=in_full(error),
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the file may raise anything
        if recorder.is_compile_error(error):
            return CompileFailure(
                status=Status.COMPILE_ERROR,
                reason=f"{where} a kernel does not compile: {one_line(error)}",
                log=in_full(error),
            )
        return CompileFailure(
            status=Status.RUNTIME_ERROR,
            reason=f"{where} the function raises {one_line(error)}",
            log=in_full(error),
        )
    finally:
        recorder.end()
    return None


def main() -> None:
    """Read a CompileRequest from standard input, write a CompileAnswer to standard output."""
    # what the file prints must not mix with the answer
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sandbox.die_with_parent()
    request = from_json(CompileRequest, sys.stdin.buffer.read())
    if request.hidden is not None:
        walls = confinement.Confinement(Path(__file__).resolve().parents[2], request.hidden)
        folder = Path(request.source_path).parent
        walls.confine(folder, gpu=False)
        walls.seal(folder)
    answer = compile_file(
        Path(request.source_path), request.entry_point, request.calls, request.target
    )
    with os.fdopen(answers, "w") as stream:
        stream.write(to_json(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    # what the file registered with atexit, and its threads, have no say any more
    os._exit(0)


if __name__ == "__main__":
    main()
