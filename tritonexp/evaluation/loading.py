"""Import an implementation's file, by the one name that it has in every process."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def load(path: str) -> ModuleType:
    """Import a file, which needs a real path for Triton to read it.

    Raises what the file raises, and ImportError for what is no Python file.
    """
    spec = importlib.util.spec_from_file_location("implementation", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and Triton look a function's module up by name
    sys.modules["implementation"] = module
    spec.loader.exec_module(module)
    return module
