"""Records become tables, plots and Markdown; nothing is measured, judged or logged here.

Does not cover what a record does not hold: a figure that was not measured is shown as "-".
"""

from tritonexp.report.document import write
from tritonexp.report.sweep import write_comparison
from tritonexp.report.terminal import headline, summary_table

__all__ = ["headline", "summary_table", "write", "write_comparison"]
