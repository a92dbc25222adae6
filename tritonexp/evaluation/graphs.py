"""What a CUDA graph holds, as the driver describes it: kernels, copies and fills.

Runs in the worker. Needs NVIDIA's cuda.bindings, which come with torch for CUDA; raises ImportError
without them.
"""

from __future__ import annotations

from typing import Any

import torch


def describe(graph: torch.cuda.CUDAGraph) -> list[dict[str, Any]]:
    """The different nodes of a graph and how many there are of each; made with keep_graph=True.

    Of a kernel also the driver's handle of its function, its launch and what the driver knows of
    its code: threads of a block, registers of a thread, bytes of shared memory of a block, bytes of
    local memory of a thread, how many such blocks a multiprocessor holds at a time, and how many
    threads of any it does: None for both where the driver does not tell.
    Raises RuntimeError where the driver refuses the rest.
    """
    from cuda.bindings import driver

    handle = driver.CUgraph(graph.raw_cuda_graph())
    _, count = _done(*driver.cuGraphGetNodes(handle))
    nodes, _ = _done(*driver.cuGraphGetNodes(handle, count))
    functions: dict[int, dict[str, Any]] = {}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for node in nodes[:count]:
        kind = _done(*driver.cuGraphNodeGetType(node))
        if kind != driver.CUgraphNodeType.CU_GRAPH_NODE_TYPE_KERNEL:
            item: dict[str, Any] = {"name": kind.name, "is_kernel": False}
            key: tuple[Any, ...] = (kind.name,)
        else:
            launch = _done(*driver.cuGraphKernelNodeGetParams(node))
            function = int(launch.func)
            if function not in functions:
                functions[function] = _describe_function(launch.func)
            known = functions[function]
            grid = [launch.gridDimX, launch.gridDimY, launch.gridDimZ]
            threads = launch.blockDimX * launch.blockDimY * launch.blockDimZ
            item = {
                "name": known["name"],
                "is_kernel": True,
                "function": function,
                "grid": grid,
                "threads": threads,
                "registers": known["registers"],
                "shared_bytes": launch.sharedMemBytes + known["shared_bytes"],
                "local_bytes": known["local_bytes"],
            }
            key = (function, *grid, threads, launch.sharedMemBytes)
            if key not in found:
                item |= _occupancy(launch.func, threads, launch.sharedMemBytes)
        found.setdefault(key, item | {"count": 0})["count"] += 1
    return list(found.values())


def _occupancy(function: Any, threads: int, dynamic_shared_bytes: int) -> dict[str, int | None]:
    """What a multiprocessor holds; the rest of a description is worth having without it."""
    from cuda.bindings import driver

    attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR
    try:
        blocks: int | None = _done(
            *driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                function, threads, dynamic_shared_bytes
            )
        )
        device = _done(*driver.cuCtxGetDevice())
        most: int | None = _done(*driver.cuDeviceGetAttribute(attribute, device))
    except RuntimeError:
        blocks = most = None
    return {"blocks_per_sm": blocks, "threads_per_sm": most}


def _describe_function(function: Any) -> dict[str, Any]:
    from cuda.bindings import driver

    def attribute(name: str) -> int:
        wanted = getattr(driver.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        return int(_done(*driver.cuFuncGetAttribute(wanted, function)))

    return {
        "name": _done(*driver.cuFuncGetName(function)).decode(),
        "registers": attribute("NUM_REGS"),
        "shared_bytes": attribute("SHARED_SIZE_BYTES"),
        "local_bytes": attribute("LOCAL_SIZE_BYTES"),
    }


def _done(status: Any, *results: Any) -> Any:
    from cuda.bindings import driver

    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver could not describe the graph: {status}")
    return results[0] if len(results) == 1 else results
