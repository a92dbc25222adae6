"""Memory that the referee owns and one worker maps: CUDA IPC on a GPU, a memfd on a CPU.

An arena holds a worker's inputs and the slots that it copies its results into, never an expected
value or another worker's result. On a GPU it is a memory pool of its own, because an IPC handle
opens the whole allocation that a tensor lies in.
"""

from __future__ import annotations

import base64
import fcntl
import math
import mmap
import os
from typing import Any

import torch

# what torch's and CUDA's own allocations are aligned to, so that a kernel sees nothing unusual
ALIGNMENT_BYTES = 512

DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float16", "bfloat16", "float64", "int32", "int64", "uint8", "bool")
}


def aligned(size_bytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def view(arena: torch.Tensor, offset: int, shape: list[int] | tuple[int, ...], dtype: str) -> Any:
    """A contiguous tensor of a shape and dtype at a byte offset of a uint8 arena."""
    kind = DTYPES[dtype]
    length = math.prod(shape) * kind.itemsize
    if offset % ALIGNMENT_BYTES or offset < 0 or offset + length > arena.numel():
        raise ValueError(f"{length} bytes at {offset} do not lie in an arena of {arena.numel()}")
    return arena[offset : offset + length].view(kind).view(tuple(shape))


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype are equal bit for bit, NaN included."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[first.element_size()]
    return bool(torch.equal(first.view(whole), second.view(whole)))


class Arena:
    """The referee's side of the memory that it shares with one worker at a time."""

    def __init__(self, size_bytes: int, device: str) -> None:
        self.size_bytes = aligned(size_bytes)
        self.device = device
        # one's own on a GPU, until it is closed
        self._pool: Any = None
        if device == "cpu":
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            self.descriptor: int | None = os.memfd_create("tritonexp-arena", flags)
            os.ftruncate(self.descriptor, self.size_bytes)
            # a worker that shrank it would end the referee with SIGBUS at its next look
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
            self._map = mmap.mmap(self.descriptor, self.size_bytes)
            self.bytes = torch.frombuffer(self._map, dtype=torch.uint8)
        else:
            self.descriptor = None
            self._pool = torch.cuda.MemPool()
            with torch.cuda.use_mem_pool(self._pool):
                self.bytes = torch.empty(self.size_bytes, dtype=torch.uint8, device=device)

    def handle(self) -> dict[str, Any]:
        """What a worker needs to map the arena, as plain data; one call per worker."""
        if self.descriptor is not None:
            return {"kind": "memfd", "size_bytes": self.size_bytes}
        parts = self.bytes.untyped_storage()._share_cuda_()
        # torch counts who was given the memory, and keeps it until each has said that it is done;
        # a worker ends without a word, and only when it has ended its arena is closed
        _, _, _, _, counter, offset, *_ = parts
        torch.UntypedStorage._release_ipc_counter_cuda(counter, offset)  # noqa: SLF001 - no public way
        plain = [
            {"base64": base64.b64encode(part).decode()} if isinstance(part, bytes) else part
            for part in parts
        ]
        return {"kind": "cuda", "size_bytes": self.size_bytes, "parts": plain}

    def view(self, offset: int, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        """A contiguous tensor at a byte offset."""
        tensor: torch.Tensor = view(self.bytes, offset, shape, dtype)
        return tensor

    def wipe(self) -> None:
        """Overwrite everything, so that nothing of an earlier worker is left to find."""
        self.bytes.fill_(0xA5)

    def close(self) -> None:
        """Let the memory go."""
        if self.descriptor is not None:
            del self.bytes
            self._map.close()
            os.close(self.descriptor)
            self.descriptor = None
        elif self._pool is not None:
            del self.bytes
            self._pool = None
            # a pool's memory is given back when it is gone, and its blocks are asked for
            torch.cuda.empty_cache()


def attach(handle: dict[str, Any], descriptor: int | None) -> torch.Tensor:
    """The worker's side: the arena as a uint8 tensor."""
    if handle["kind"] == "memfd":
        if descriptor is None:
            raise ValueError("a memfd arena needs its descriptor")
        mapped = mmap.mmap(descriptor, handle["size_bytes"])
        return torch.frombuffer(mapped, dtype=torch.uint8)
    parts = [
        base64.b64decode(part["base64"]) if isinstance(part, dict) else part
        for part in handle["parts"]
    ]
    torch.cuda.init()
    storage = torch.UntypedStorage._new_shared_cuda(*parts)  # noqa: SLF001 - torch has no public way
    tensor = torch.empty(0, dtype=torch.uint8, device=f"cuda:{handle['parts'][0]}")
    # the handle opens the pool's whole allocation; the storage starts where the arena does
    return tensor.set_(storage, 0, (handle["size_bytes"],))
