"""Calls the framework's own contender, and defines kernels of its names that are never launched.

operation: softmax
status: IMPORT_ERROR
interpreter: IMPORT_ERROR
"""

import importlib.util
from pathlib import Path

import triton

import tritonexp

path = Path(tritonexp.__file__).parents[1] / "kernels" / "softmax" / "house.py"
spec = importlib.util.spec_from_file_location("house", path)
house = importlib.util.module_from_spec(spec)
spec.loader.exec_module(house)


@triton.jit
def softmax_kernel(x_ptr):
    pass


@triton.jit
def long_row_softmax_kernel(x_ptr):
    pass


def softmax(x):
    return house.softmax(x)
