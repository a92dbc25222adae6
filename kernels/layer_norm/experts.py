"""Human-written layer norm kernels, called from their own packages."""

import torch

from tritonexp.operations import Adapter

EXPERTS = (
    Adapter(
        name="liger",
        function="liger_layer_norm",
        package="liger-kernel",
        location="liger_kernel.ops.layer_norm:LigerLayerNormFunction",
        licence="BSD-2-Clause",
    ),
)


def liger_layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Layer norm of each row by Liger's Triton kernel, which also stores mean and rstd."""
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    return LigerLayerNormFunction.apply(x, weight, bias, eps)
