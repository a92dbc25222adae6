"""Human-written softmax kernels, called from their own packages.

Does not cover the official Triton tutorial's kernel: it comes in no package.
"""

import torch

from tritonexp.operations import Adapter

EXPERTS = (
    Adapter(
        name="liger",
        function="liger_softmax",
        package="liger-kernel",
        location="liger_kernel.ops.softmax:LigerSoftmaxFunction",
        licence="BSD-2-Clause",
    ),
)


def liger_softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax over each row by Liger's Triton kernel."""
    from liger_kernel.ops.softmax import LigerSoftmaxFunction

    return LigerSoftmaxFunction.apply(x)
