"""Imports torch.nn.functional by a name that is put together at run time.

operation: layer_norm
status: NOT_TRITON
interpreter: NOT_TRITON
"""

import importlib


def layer_norm(x, weight, bias, eps=1e-5):
    functional = importlib.import_module("torch." + "nn." + "functional")
    return functional.layer_norm(x, x.shape[1:], weight, bias, eps)
