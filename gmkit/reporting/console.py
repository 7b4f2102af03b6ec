"""What a run prints when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gmkit.reporting.tables import format_value

if TYPE_CHECKING:
    from rich.table import Table


def console_table(metrics: Mapping[str, Any], title: str | None = None) -> Table:
    """The metrics as a `rich` table of two columns, numbers formatted as in the report."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title and Text(title), box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        # Text objects, because rich would read [brackets] in a name as markup.
        table.add_row(Text(name), Text(format_value(value)))
    return table
