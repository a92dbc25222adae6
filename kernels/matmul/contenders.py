"""Torch's own matmul, under the name that the reader of any operation looks for.

Torch has no naive matmul, so the baseline ends in cuBLAS just as this does. The two are measured
as if they were different, each in its own worker: their ratio is the control that must be a tie.
"""

import torch

from tritonexp.operations import Adapter

CONTENDERS = (
    Adapter(
        name="torch",
        function="torch_matmul",
        package="torch",
        location="torch:mm",
        licence="BSD-3-Clause",
    ),
)


def torch_matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Matrix product by cuBLAS, without the dispatch over ranks that torch.matmul does."""
    return torch.mm(a, b)
