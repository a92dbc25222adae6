"""How many registers a compiled kernel uses, as the cuobjdump that ships with Triton tells.

Does not cover a Triton that ships without it: the figures are then unknown, which is logged.
"""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What cuobjdump says of a kernel."""

    registers: int
    spill_bytes: int  # stack frame and local memory per thread


def resource_usage(cubin: bytes) -> Usage | None:
    """Ask the cuobjdump that ships with Triton; None where it says nothing."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        try:
            told = subprocess.run(  # noqa: S603  # Triton's own tool on its own output
                [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            _log.warning("registers are unknown: cuobjdump -res-usage failed: %s", error)
            return None
    found = re.findall(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", told)
    if not found:
        _log.warning("registers are unknown: cuobjdump -res-usage said %r", told)
        return None
    return Usage(
        registers=max(int(registers) for registers, _, _ in found),
        spill_bytes=max(int(stack) + int(local) for _, stack, local in found),
    )
