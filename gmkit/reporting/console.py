"""What a run prints when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gmkit.reporting.report import HEADLINES
from gmkit.reporting.tables import Rows, format_table

if TYPE_CHECKING:
    from rich.table import Table


def console_table(rows: Rows, title: str | None = None, columns: int = 6) -> Table:
    """The first columns of a table for the terminal, numbers formatted as in the report."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title and Text(title), box=box.SIMPLE_HEAD, title_justify="left")
    # Text objects, because rich would read [brackets] in a name as markup.
    cells = [[Text(cell) for cell in row[:columns]] for row in format_table(rows)]
    for i, name in enumerate(cells[0] if cells else ()):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in cells[1:]:
        table.add_row(*row)
    return table


def console_metrics(metrics: Mapping[str, Any], title: str | None = None) -> Table:
    """The first metrics, as many as stand at the top of the report."""
    rows = [{"metric": name, "value": value} for name, value in metrics.items()]
    return console_table(rows[:HEADLINES], title)
