"""The process in which one call of an untrusted file is measured.

Started by ncu as `python -m tritonexp.evaluation.ncu.child REQUEST`, the path of a ProfileRequest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tritonexp.evaluation import confinement, sandbox
from tritonexp.evaluation.loading import load
from tritonexp.evaluation.ncu.messages import ProfileRequest, ScalarGiven, TensorGiven
from tritonexp.records import from_json

# the first compiles and tunes, the second finds what is kept from the first
CALLS_BEFORE = 2


def main() -> None:
    """Make the call that a request describes."""
    sandbox.die_with_parent()
    request = from_json(ProfileRequest, Path(sys.argv[1]).read_bytes())
    arguments = [argument_of(given, "cuda") for given in request.arguments]
    runtime = torch.cuda.cudart()
    start, stop = runtime.cudaProfilerStart, runtime.cudaProfilerStop
    synchronize = torch.cuda.synchronize
    # one kernel of ours is measured first, so that whatever ncu opens in this process, and may only
    # open as the user that it is, is open before the walls go up
    place = torch.empty(1, device="cuda")
    synchronize()
    start()
    place.fill_(1.0)
    synchronize()
    stop()
    if request.hidden is not None:
        walls = confinement.Confinement(Path(__file__).resolve().parents[2], request.hidden)
        folder = Path(request.source_path).parent
        walls.confine(folder)
        # the driver opens something there for each measurement, and gives up where it cannot
        walls.seal(folder, shared_memory=True)
    function: Callable[..., Any] = getattr(load(request.source_path), request.entry_point)
    if request.torch_compile:
        function = torch.compile(function, dynamic=False)
    for _ in range(CALLS_BEFORE):
        function(*arguments)
    synchronize()
    start()
    function(*arguments)
    synchronize()
    stop()
    sys.stdout.flush()
    sys.stderr.flush()
    # what the file registered with atexit, and its threads, have no say any more
    os._exit(0)


def argument_of(given: TensorGiven | ScalarGiven, device: str) -> Any:
    """One argument of the call."""
    if isinstance(given, ScalarGiven):
        return given.value
    dtype = getattr(torch, given.dtype)
    if given.path is None:
        return torch.randn(given.shape, device=device).to(dtype)
    data = bytearray(Path(given.path).read_bytes())
    return torch.frombuffer(data, dtype=dtype).reshape(given.shape).to(device)


if __name__ == "__main__":
    main()
