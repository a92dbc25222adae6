"""The parent's side: finding ncu, its command, and the process that it starts, watches and ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tritonexp.evaluation import sandbox
from tritonexp.evaluation.ncu.messages import (
    PRELUDE_KERNELS,
    ProfileRequest,
    ScalarGiven,
    TensorGiven,
)
from tritonexp.evaluation.ncu.output import METRICS, NcuError, NcuUnusableError, check, totals_of
from tritonexp.operations import Spec, TensorArgument
from tritonexp.records import DramTraffic, Implementation, Size, to_json

# a table of a few kernels takes some kilobytes
MAX_LOG_BYTES = 8 << 20
MAX_SHOWN = 200
PRINTED = "printed.txt"
SEED = 0


def find(environment: Mapping[str, str] = os.environ) -> str:
    """Where ncu is: what NCU names, or the one on the PATH; raises NcuUnusableError without it."""
    named = environment.get("NCU", "")
    found = shutil.which(named or "ncu", path=environment.get("PATH", ""))
    if found is None:
        raise NcuUnusableError(
            f"NCU names {named!r}, which is no program"
            if named
            else "ncu (Nsight Compute) is not on the PATH, and NCU does not name it"
        )
    return found


def measure(
    tool: str,
    implementation: Implementation,
    spec: Spec,
    sizes: Sequence[Size],
    dtype: str,
    *,
    timeout_s: float,
    hidden: tuple[str, ...] | None,
) -> tuple[DramTraffic, ...]:
    """What one call moves at each size; a size that could not be measured has a reason.

    `hidden` are the modules that the file must not read; None for no sandbox.
    Raises NcuUnusableError where nothing can be measured here.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="tritonexp-ncu-") as name:
        folder = Path(name)
        # what is compiled at one size may serve another
        inside = folder / "inside"
        inside.mkdir()
        source_path = inside / f"{implementation.name}.py"
        source_path.write_text(implementation.source)
        for size in sizes:
            request = ProfileRequest(
                source_path=str(source_path),
                entry_point=implementation.entry_point,
                arguments=given(spec, size, dtype, inside),
                torch_compile=implementation.name == "compile",
                hidden=hidden,
            )
            try:
                totals = totals_of(_run(tool, request, folder, timeout_s), PRELUDE_KERNELS)
            except NcuUnusableError:
                raise
            except NcuError as error:
                # the file's own errors are to ncu those of an application
                reason = f"{error}{_last_line(folder / PRINTED)}"
                found.append(_unmeasured(size, dtype, reason))
                continue
            found.append(
                DramTraffic(
                    size=size,
                    dtype=dtype,
                    kernels=totals.kernels,
                    read_bytes=totals.read_bytes,
                    written_bytes=totals.written_bytes,
                    kernel_us=totals.kernel_us,
                    reason="",
                )
            )
    return tuple(found)


def given(
    spec: Spec, size: Size, dtype: str, folder: Path
) -> tuple[TensorGiven | ScalarGiven, ...]:
    """How the function is called at a size; an argument that fills itself goes through a file."""
    found: list[TensorGiven | ScalarGiven] = []
    for argument in spec.arguments:
        if not isinstance(argument, TensorArgument):
            found.append(ScalarGiven(value=argument.value))
            continue
        shape, path, kind = spec.shape_of(argument.shape, size), None, dtype
        if argument.fill is not None:
            generator = torch.Generator().manual_seed(SEED)
            tensor = argument.fill(size, getattr(torch, dtype), generator, "cpu").contiguous()
            kind = str(tensor.dtype).removeprefix("torch.")
            path = folder / f"{argument.name}.bin"
            path.write_bytes(tensor.view(-1).view(torch.uint8).numpy().tobytes())
        found.append(TensorGiven(shape=shape, dtype=kind, path=str(path) if path else None))
    return tuple(found)


def command_of(tool: str, log: Path, request: Path) -> list[str]:
    """The command line: one table of plain numbers, of what lies between start and stop."""
    return [
        tool,
        "--csv",
        *("--print-units", "base"),
        *("--log-file", str(log)),
        *("--metrics", ",".join(METRICS)),
        *("--profile-from-start", "off"),
        # whoever the file starts is not asked, and the clocks stay as they are
        *("--target-processes", "application-only"),
        *("--clock-control", "none"),
        *("--cache-control", "all"),
        *(sys.executable, "-P", "-m", "tritonexp.evaluation.ncu.child", str(request)),
    ]


def _run(tool: str, request: ProfileRequest, folder: Path, timeout_s: float) -> str:
    """Measure one call, and return what ncu wrote; raises NcuError where it came to no end."""
    inside = Path(request.source_path).parent
    request_path, log = folder / "request.json", folder / "ncu.csv"
    request_path.write_text(to_json(request))
    log.unlink(missing_ok=True)
    printed = folder / PRINTED
    environment = sandbox.environment(inside, interpret=False) | {
        # numbers are written as the locale has it
        "LC_ALL": "C",
        "TRITON_CACHE_DIR": str(inside / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(inside / "inductor"),
    }
    with printed.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the tool that the user asked for
            command_of(tool, log, request_path),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=inside,
            env=environment,
            start_new_session=True,
        )
    in_time = sandbox.watch(process, timeout_s)
    told = _text_of(log)
    if not in_time:
        raise NcuError(f"measuring took longer than {timeout_s:g} s")
    if not told:
        # what keeps ncu from writing a log stands among what was printed
        check(_text_of(printed).splitlines())
        raise NcuError(f"ncu ended with status {process.returncode} and wrote nothing")
    return told


def _last_line(path: Path) -> str:
    """What was printed last, in brackets; nothing where nothing was."""
    lines = [line.strip() for line in _text_of(path).splitlines() if line.strip()]
    return f" (last printed: {lines[-1][:MAX_SHOWN]})" if lines else ""


def _text_of(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(MAX_LOG_BYTES).decode(errors="replace")


def _unmeasured(size: Size, dtype: str, reason: str) -> DramTraffic:
    return DramTraffic(
        size=size,
        dtype=dtype,
        kernels=None,
        read_bytes=None,
        written_bytes=None,
        kernel_us=None,
        reason=reason,
    )
