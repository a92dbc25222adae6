"""What the GPU was measured to reach: copy bandwidth in GB/s, matmul rate per dtype in TFLOP/s.

Units are decimal: 1 GB/s is 1e9 bytes and 1 TFLOP/s is 1e12 operations per second. Each figure is
the best of several runs, because a floor that is made of it must not be too high. Measured once per
GPU, driver and torch version, and kept in the user's cache folder.

Does not cover bandwidth of the caches, rates of special functions, or figures of a data sheet. A
figure that is too low, since another process kept the GPU busy, is noticed only where a call seems
faster than it allows: all are then measured again, and the better ones are kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from tritonexp.evaluation.memory import DTYPES
from tritonexp.records import Ceilings, Gpu, from_json, to_json
from tritonexp.user_cache import cache_folder

# raised when the way of measuring changes, so that figures of an older way are not reused
METHOD = 1
# bytes of the source of a copy: many times any L2, so that the memory is what is measured
COPY_BYTES = 4 << 30
# rows and columns of the square matrices; the better of the two counts
MATMUL_SIZES = (4096, 8192)
# timed runs of one piece of work, of which the fastest counts
REPEATS = 10


def ceilings_of(gpu: Gpu, dtypes: tuple[str, ...]) -> Ceilings:
    """The GPU's ceilings, with a matmul rate for each dtype; measured where not yet known.

    dtypes are torch's names, such as float16. Rates that were measured for other dtypes before
    are there too, and measured_on is the day (UTC) of the latest measurement.
    """
    path = _path_of(gpu)
    known = None
    # a file of another version of ours is measured anew
    with contextlib.suppress(FileNotFoundError, ValueError):
        known = from_json(Ceilings, path.read_text())
    if known is not None and set(dtypes) <= set(known.matmul_tflop_s):
        return known
    rates = dict(known.matmul_tflop_s) if known else {}
    measured = Ceilings(
        copy_gb_s=known.copy_gb_s if known else measure_copy_gb_s(),
        matmul_tflop_s=rates
        | {dtype: measure_matmul_tflop_s(dtype) for dtype in dtypes if dtype not in rates},
        measured_on=_today(),
    )
    _keep(path, measured)
    return measured


class Yardstick:
    """The ceilings that one evaluation judges by.

    They are measured again, once, before anybody is accused by them: until then they are not sure.
    Nothing else may use the GPU meanwhile.
    """

    def __init__(self, gpu: Gpu, dtypes: tuple[str, ...]) -> None:
        self.ceilings = ceilings_of(gpu, dtypes)
        self._gpu = gpu
        self._dtypes = dtypes
        # measured again already
        self.is_sure = False

    def measure_again(self) -> None:
        """Keep the better of each figure and a new one, here and for later evaluations."""
        self.is_sure = True
        rates = dict(self.ceilings.matmul_tflop_s)
        for dtype in self._dtypes:
            rates[dtype] = max(rates[dtype], measure_matmul_tflop_s(dtype))
        better = Ceilings(
            copy_gb_s=max(self.ceilings.copy_gb_s, measure_copy_gb_s()),
            matmul_tflop_s=rates,
            measured_on=self.ceilings.measured_on,
        )
        if better != self.ceilings:
            self.ceilings = dataclasses.replace(better, measured_on=_today())
            _keep(_path_of(self._gpu), self.ceilings)


def measure_copy_gb_s() -> float:
    """Copy bandwidth in GB/s: bytes read plus bytes written, over the seconds of the fastest copy.

    The copy is of COPY_BYTES within the GPU's memory, or of a quarter of what is free if that is
    less.
    """
    free, _ = torch.cuda.mem_get_info()
    count = min(COPY_BYTES, free // 4)
    source = torch.empty(count, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best_s = _best_seconds(functools.partial(target.copy_, source))
    del source, target
    torch.cuda.empty_cache()
    return float(2 * count / best_s / 1e9)


def measure_matmul_tflop_s(dtype: str) -> float:
    """The best rate of torch.matmul on normal random square matrices of a dtype, in TFLOP/s.

    n x n matrices count 2 n^3 operations: a multiplication and an addition each. The best is over
    MATMUL_SIZES. float32 is measured without TF32, as an operation in float32 is judged.
    """
    rates = []
    for size in MATMUL_SIZES:
        a = torch.randn(size, size, device="cuda", dtype=torch.float32).to(DTYPES[dtype])
        b = torch.randn(size, size, device="cuda", dtype=torch.float32).to(DTYPES[dtype])
        best_s = _best_seconds(functools.partial(torch.matmul, a, b))
        rates.append(2 * size**3 / best_s / 1e12)
        del a, b
    torch.cuda.empty_cache()
    return max(rates)


def _best_seconds(work: Callable[[], object]) -> float:
    """Seconds of the fastest of REPEATS calls, by CUDA events, after three that do not count."""
    for _ in range(3):
        work()
    times_ms = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times_ms.append(start.elapsed_time(end))
    return float(min(times_ms)) / 1e3


def _today() -> str:
    return dt.datetime.now(dt.UTC).date().isoformat()


def _path_of(gpu: Gpu) -> Path:
    key = hashlib.sha256(f"{gpu.uuid} {gpu.driver} {torch.__version__} {METHOD}".encode())
    return cache_folder() / f"ceilings-{key.hexdigest()[:16]}.json"


def _keep(path: Path, measured: Ceilings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # written beside and renamed, so that a second process never reads half of it
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".json", delete=False) as file:
        file.write(to_json(measured))
    Path(file.name).replace(path)
