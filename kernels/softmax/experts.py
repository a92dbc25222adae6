"""Human-written softmax kernels, called from their own packages and from Triton's tutorial."""

import torch

from tritonexp.operations import Adapter
from tritonexp.tutorials import Tutorial

EXPERTS = (
    Adapter(
        name="liger",
        function="liger_softmax",
        package="liger-kernel",
        location="liger_kernel.ops.softmax:LigerSoftmaxFunction",
        licence="BSD-2-Clause",
    ),
    Tutorial(
        file="02-fused-softmax.py",
        sha256="8a65b696d5b02a3900380395ecd883671afeb66328db108f55622ed8853a05da",
        call="softmax(x)",
    ),
)


def liger_softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax over each row by Liger's Triton kernel."""
    from liger_kernel.ops.softmax import LigerSoftmaxFunction

    return LigerSoftmaxFunction.apply(x)
