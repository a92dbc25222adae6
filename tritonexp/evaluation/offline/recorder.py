"""What was compiled and launched in each call of a file's function, and what failed to compile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tritonexp.evaluation.offline.cubins import Usage, resource_usage
from tritonexp.evaluation.offline.messages import Call
from tritonexp.evaluation.offline.reasons import chain, one_line
from tritonexp.evaluation.offline.targets import (
    DEVICES,
    MAX_THREADS_PER_BLOCK,
    WARP_SIZE,
    Device,
    misfit,
)
from tritonexp.records import CompiledKernel


@dataclass
class Recorder:
    """Collects the kernels of one call after another."""

    target: str
    call: Call | None = None
    done: list[CompiledKernel] = field(default_factory=list)
    launched: dict[tuple[Any, ...], CompiledKernel] = field(default_factory=dict)
    # compiled in this call by hash, until a launch of it is seen
    unlaunched: dict[str, CompiledKernel] = field(default_factory=dict)
    usages: dict[str, Usage | None] = field(default_factory=dict)
    compile_errors: list[BaseException] = field(default_factory=list)

    @property
    def device(self) -> Device:
        """The GPU that stands for the target."""
        return DEVICES[self.target]

    def usage_of(self, cubin: bytes) -> Usage | None:
        """What a kernel uses."""
        return resource_usage(cubin)

    def linked(self, src: Any, metadata: Any) -> None:
        """Nothing is launched, so nobody needs a launcher."""

    def begin(self, call: Call) -> None:
        """Open a call, which all until its end belongs to."""
        self.call = call

    def end(self) -> None:
        """Close a call: what was compiled and never launched counts too, without a grid."""
        self.done += [*self.launched.values(), *self.unlaunched.values()]
        self.launched.clear()
        self.unlaunched.clear()
        self.call = None

    def compiled(self, kernel: Any) -> None:
        """Note what Triton made of a kernel."""
        digest = kernel.metadata.hash
        self.usages[digest] = resource_usage(kernel.asm["cubin"])
        if (entry := self._entry(kernel.metadata, None)) is not None:
            self.unlaunched[digest] = entry

    def failed(self, name: str, options: dict[str, Any], error: BaseException) -> None:
        """Note a kernel that Triton, or what it calls, refused."""
        self.compile_errors.append(error)
        if self.call is None:
            return
        reason = f"does not compile: {one_line(error)}"
        num_warps, num_stages = int(options.get("num_warps", 4)), options.get("num_stages")
        self.launched[name, num_warps, num_stages, reason] = CompiledKernel(
            name=name,
            target=self.target,
            dtype=self.call.dtype,
            size=self.call.size,
            grid=None,
            launches=None,
            num_warps=num_warps,
            num_stages=num_stages,
            registers=None,
            shared_bytes=None,
            spill_bytes=None,
            blocks_per_sm=None,
            occupancy=None,
            fits=None,
            reason=reason,
        )

    def launch(self, metadata: Any, grid: tuple[int, int, int]) -> None:
        """Record a launch; raises Triton's OutOfResources where the real one would."""
        from triton.runtime.errors import OutOfResources

        self.unlaunched.pop(metadata.hash, None)
        if (entry := self._entry(metadata, grid)) is not None:
            self.launched[metadata.hash, grid] = entry
        # the autotuner skips a configuration on this, and host code may fall back on it
        if metadata.shared > (limit := self.device.shared_bytes_per_block):
            raise OutOfResources(metadata.shared, limit, "shared memory")
        if metadata.num_warps * WARP_SIZE > MAX_THREADS_PER_BLOCK:
            raise OutOfResources(metadata.num_warps * WARP_SIZE, MAX_THREADS_PER_BLOCK, "threads")

    def is_compile_error(self, error: BaseException) -> bool:
        """Whether an error comes of a kernel that was refused."""
        return any(link is known for link in chain(error) for known in self.compile_errors)

    def _entry(self, metadata: Any, grid: tuple[int, int, int] | None) -> CompiledKernel | None:
        # what a file launches while it is imported belongs to no size
        if self.call is None:
            return None
        usage = self.usages.get(metadata.hash)
        reason = misfit(metadata, usage, grid, self.device)
        return CompiledKernel(
            name=metadata.name,
            target=self.target,
            dtype=self.call.dtype,
            size=self.call.size,
            grid=grid,
            launches=None,
            num_warps=metadata.num_warps,
            num_stages=getattr(metadata, "num_stages", None),
            registers=usage.registers if usage else None,
            shared_bytes=metadata.shared,
            spill_bytes=usage.spill_bytes if usage else None,
            blocks_per_sm=None,
            occupancy=None,
            fits=False if reason else (True if usage else None),
            reason=reason,
        )
