"""Torch's own layer norm, for its column beside the baseline and the experts."""

import torch

from tritonexp.operations import Adapter

CONTENDERS = (
    Adapter(
        name="torch",
        function="torch_layer_norm",
        package="torch",
        location="torch.nn.functional:layer_norm",
        licence="BSD-3-Clause",
    ),
)


def torch_layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Layer norm of each row by torch's library kernel."""
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps)
