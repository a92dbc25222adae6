"""Records become MLflow runs, and runs become records again; the only room that imports mlflow."""

from tritonexp.tracking.store import Store

__all__ = ["Store"]
