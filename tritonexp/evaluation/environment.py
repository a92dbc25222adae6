"""Where an evaluation runs: the GPU as its driver describes it, and the versions that matter."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
from pathlib import Path

import torch
import triton

import tritonexp
from tritonexp.records import Environment, Gpu, MachineFacts

PACKAGES = ("liger-kernel", "numpy", "scipy")


def find_gpu() -> Gpu | None:
    """The current CUDA device; None where there is none."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Gpu(
        name=found.name,
        uuid=str(found.uuid),
        compute_capability=f"{found.major}.{found.minor}",
        sm_count=found.multi_processor_count,
        memory_bytes=found.total_memory,
        l2_bytes=found.L2_cache_size,
        shared_memory_per_block_bytes=found.shared_memory_per_block_optin,
        driver=_driver_version(),
    )


def describe(gpu: Gpu | None, sandbox: str) -> Environment:
    """The environment of an evaluation that starts now."""
    return Environment(
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        gpu=gpu,
        cpu=_cpu_name(),
        platform=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        triton=triton.__version__,
        tritonexp=tritonexp.__version__,
        packages=_versions(),
        sandbox=sandbox,
    )


def facts_of(gpu: Gpu | None, bandwidth_gb_s: float | None) -> MachineFacts:
    """What a prompt may take from this machine."""
    return MachineFacts(
        triton_version=triton.__version__,
        gpu_name=gpu.name if gpu else None,
        compute_capability=gpu.compute_capability if gpu else None,
        sm_count=gpu.sm_count if gpu else None,
        shared_memory_per_block_bytes=gpu.shared_memory_per_block_bytes if gpu else None,
        l2_bytes=gpu.l2_bytes if gpu else None,
        bandwidth_gb_s=bandwidth_gb_s,
    )


def _driver_version() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return version.decode() if isinstance(version, bytes) else str(version)


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
