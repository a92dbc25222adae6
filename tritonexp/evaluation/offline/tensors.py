"""Tensors that have a shape, a dtype and the device cuda:0, and no memory.

Not covered: what a tensor holds; host code that reads values gets a `NoValuesError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

READS_VALUES = frozenset(
    {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"}
)


class NoValuesError(RuntimeError):
    """Host code asked for what only a GPU could have computed."""


def tensors_without_memory() -> Any:
    """Have what is meant for the GPU made on torch's meta device, and say that it is on cuda:0.

    A study's tensors would take gigabytes, and few builds of torch make one for a GPU that is not
    there.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    tensor_type = torch.Tensor
    gpu, meta = torch.device("cuda", 0), torch.device("meta")

    def address(tensor: Any) -> int:
        # an allocation starts at a multiple of 512 bytes, as torch's do; a view is offset in it
        storage: int = tensor.untyped_storage()._cdata  # noqa: SLF001  # its only identity
        offset: int = tensor.storage_offset() * tensor.element_size()
        return (storage << 9) % 2**47 + offset

    told: dict[Any, Callable[[Any], Any]] = {
        tensor_type.device.__get__: lambda _: gpu,
        tensor_type.is_cuda.__get__: lambda _: True,
        tensor_type.is_meta.__get__: lambda _: False,
        tensor_type.get_device: lambda _: 0,
        tensor_type.data_ptr: address,
        tensor_type.record_stream: lambda _: None,
    }

    def place(value: Any) -> Any:
        if isinstance(value, str) and value.partition(":")[0] == "cuda":
            return meta
        return meta if isinstance(value, torch.device) and value.type == "cuda" else value

    class TensorsWithoutMemory(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, _types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            of_gpu = bool(args) and isinstance(args[0], tensor_type) and args[0].is_meta
            if of_gpu and func in told:
                return told[func](args[0])
            # host code sees the device that it asks for, and compares it with a tensor's
            if func is torch.device:
                return func(*args, **kwargs)
            if func is tensor_type.cuda:
                return args[0].to(meta)
            name = getattr(func, "__name__", "")
            if of_gpu and name in READS_VALUES:
                raise NoValuesError(f"it calls {name} on a tensor of the GPU")
            # a number for a device is a GPU's
            if isinstance(kwargs.get("device"), int):
                kwargs = kwargs | {"device": meta}
            return func(
                *(place(arg) for arg in args),
                **{key: place(value) for key, value in kwargs.items()},
            )

    return TensorsWithoutMemory()
