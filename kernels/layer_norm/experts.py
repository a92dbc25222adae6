"""Human-written layer norm kernels, called from their own packages and from Triton's tutorial."""

import torch

from tritonexp.operations import Adapter
from tritonexp.tutorials import Tutorial

EXPERTS = (
    Adapter(
        name="liger",
        function="liger_layer_norm",
        package="liger-kernel",
        location="liger_kernel.ops.layer_norm:LigerLayerNormFunction",
        licence="BSD-2-Clause",
    ),
    Tutorial(
        file="05-layer-norm.py",
        sha256="31cda7bf7bb9b637ea662b789188d37ff5981c3973626d4e2a293db633f3bb87",
        call="LayerNorm.apply(x, weight.shape, weight, bias, eps)",
    ),
)


def liger_layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Layer norm of each row by Liger's Triton kernel, which also stores mean and rstd."""
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    return LigerLayerNormFunction.apply(x, weight, bias, eps)
