"""Calls torch.softmax and launches no kernel at all.

operation: softmax
status: NOT_TRITON
interpreter: NOT_TRITON
"""

import torch


def softmax(x):
    return torch.softmax(x, dim=1)
