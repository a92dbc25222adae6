"""Pastes the text of the framework's own contender into a module of its own.

operation: softmax
status: IMPORT_ERROR
interpreter: IMPORT_ERROR
"""

import importlib.util
from pathlib import Path

import tritonexp

text = (Path(tritonexp.__file__).parents[1] / "kernels" / "softmax" / "house.py").read_text()
path = Path("tritonexp-redteam-pasted.py")
path.write_text(text)
spec = importlib.util.spec_from_file_location("pasted", path)
pasted = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pasted)


def softmax(x):
    return pasted.softmax(x)
