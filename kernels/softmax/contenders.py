"""Torch's own softmax, for its column beside the baseline and the experts."""

import torch

from tritonexp.operations import Adapter

CONTENDERS = (
    Adapter(
        name="torch",
        function="torch_softmax",
        package="torch",
        location="torch:softmax",
        licence="BSD-3-Clause",
    ),
)


def torch_softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax over each row by torch's library kernel."""
    return torch.softmax(x, dim=1)
