"""torch.compile writes the kernel; the file names torch.softmax alone.

operation: softmax
status: NOT_TRITON or TIMEOUT
"""

import torch


@torch.compile
def compiled(x):
    return torch.softmax(x, dim=1)


def softmax(x):
    return compiled(x)
