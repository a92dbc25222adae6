"""The pictures of one record, each a module: what it shows stands at its top.

Does not cover several records: see sweep_plot.
"""

from tritonexp.report.plots.ceiling import draw_ceiling
from tritonexp.report.plots.comparison import draw_comparison
from tritonexp.report.plots.key_metric import draw_key_metric
from tritonexp.report.plots.rounds import draw_rounds

__all__ = ["draw_ceiling", "draw_comparison", "draw_key_metric", "draw_rounds"]
