"""Floor 3: turns numbers and arrays into pictures, tables and one self-contained page.

Nothing here computes a metric, trains or touches matplotlib's global state: figures are plain
`matplotlib.figure.Figure` objects on an Agg canvas, and matplotlib is imported at first use.
"""

from gmkit.reporting.adversarial import adversarial_grid
from gmkit.reporting.classification import captioned_images, confusion_matrix
from gmkit.reporting.coefficients import coefficient_maps
from gmkit.reporting.console import console_metrics, console_table
from gmkit.reporting.critics import MAX_COMPARED, compare_sets, critic_map, labelled_planes
from gmkit.reporting.curves import read_metrics, training_curves
from gmkit.reporting.densities import transport_panels, value_table
from gmkit.reporting.figures import colours, figure, save_figure, style
from gmkit.reporting.images import (
    image_grid,
    image_strips,
    save_png,
    side_by_side,
    tile,
    to_uint8,
)
from gmkit.reporting.plots import histograms, landscape, lines, scatter_panels
from gmkit.reporting.report import write_report
from gmkit.reporting.results import provenance, write_results
from gmkit.reporting.samples import save_samples
from gmkit.reporting.tables import format_table, format_value, write_table

__all__ = [
    "MAX_COMPARED",
    "adversarial_grid",
    "captioned_images",
    "coefficient_maps",
    "colours",
    "compare_sets",
    "confusion_matrix",
    "console_metrics",
    "console_table",
    "critic_map",
    "figure",
    "format_table",
    "format_value",
    "histograms",
    "image_grid",
    "image_strips",
    "labelled_planes",
    "landscape",
    "lines",
    "provenance",
    "read_metrics",
    "save_figure",
    "save_png",
    "save_samples",
    "scatter_panels",
    "side_by_side",
    "style",
    "tile",
    "to_uint8",
    "training_curves",
    "transport_panels",
    "value_table",
    "write_report",
    "write_results",
    "write_table",
]
