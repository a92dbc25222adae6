"""The entry point is no function of the file's but torch's own with an argument bound.

operation: softmax
status: NOT_TRITON
interpreter: NOT_TRITON
"""

import functools

import torch

softmax = functools.partial(torch.softmax, dim=1)
