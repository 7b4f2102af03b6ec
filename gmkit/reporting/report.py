"""One page that shows a run: opens from disk, needs no network and no script."""

from __future__ import annotations

import base64
import html
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmkit.reporting.files import write_text
from gmkit.reporting.tables import (
    Rows,
    column_names,
    format_table,
    format_value,
    is_number,
    plain_scalar,
)

#: (name, path of a PNG) or (name, path, caption).
Picture = tuple[str, str | os.PathLike] | tuple[str, str | os.PathLike, str | None]

#: Metrics shown as large numbers; all of them are in the table below when there are more.
HEADLINES = 8

_CSS = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #222; --soft: #666;
  --line: #e3e3e0; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --card: #1f2226; --ink: #e6e6e3;
  --soft: #9aa0a6; --line: #33373c; --accent: #56b4e9; } figure img { filter: brightness(.9); } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; overflow-wrap: anywhere; }
.sub { color: var(--soft); margin: 0 0 1.25rem; overflow-wrap: anywhere; }
.numbers { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.number { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .85rem; }
.number b { display: block; font-size: 1.4rem; font-weight: 600; line-height: 1.2;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.number span { color: var(--soft); font-size: .82rem; overflow-wrap: anywhere; }
.pictures { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem; }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff;
  border-radius: .25rem; }
figcaption { margin-top: .5rem; font-size: .88rem; overflow-wrap: anywhere; }
figcaption span { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); }
.num { text-align: right; font-variant-numeric: tabular-nums; }
details { margin: .4rem 0; }
details details { margin-left: 1rem; }
summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1rem;
  margin: .3rem 0 .3rem 1rem; font-size: .9rem; }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace;
  font-size: .85rem; }
"""

# The policy makes the browser itself refuse anything that is not inside the file.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def write_report(
    workdir: str | os.PathLike,
    *,
    title: str,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    figures: Sequence[Picture] = (),
    tables: Mapping[str, Rows] | None = None,
    curves: Sequence[Picture] = (),
) -> Path:
    """Writes `workdir/report.html`, atomically; returns its path.

    The page holds its pictures, follows the reader's light or dark theme and fits a phone.
    Sections without content are left out.

    Args:
      workdir: the run's folder.
      title: heading of the page.
      config: resolved settings, possibly nested.
      metrics: name -> number, the most important first.
      provenance: what the numbers depend on, possibly nested.
      figures: samples and other pictures, (name, path of a PNG[, caption]).
      tables: name -> rows.
      curves: training curves, like `figures`.

    Raises:
      FileNotFoundError: a picture that does not exist.
      ValueError: a picture that is no PNG.
    """
    sections = [
        _subtitle(provenance),
        _section("Results", _numbers(metrics)),
        _section("Figures", _pictures(figures)),
        _section("Tables", "".join(_table(name, rows) for name, rows in (tables or {}).items())),
        _section("Training", _pictures(curves)),
        _section("Settings", _folded("All settings", config)),
        _section("Provenance", _entries(provenance)),
    ]
    page = _PAGE.format(title=_text(title), css=_CSS, body="\n".join(filter(None, sections)))
    return write_text(Path(workdir) / "report.html", page)


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _section(heading: str, body: str) -> str:
    return f"<section>\n<h2>{heading}</h2>\n{body}\n</section>" if body else ""


def _subtitle(provenance: Mapping[str, Any]) -> str:
    """Seed, devices and time in one line, as far as they are known."""
    parts = []
    if provenance.get("seed") is not None:
        parts.append(f"seed {provenance['seed']}")
    devices = provenance.get("devices")
    if isinstance(devices, Mapping) and "count" in devices:
        parts.append(f"{devices['count']} × {devices.get('kind', 'device')}")  # noqa: RUF001
    seconds = plain_scalar(provenance.get("seconds"))
    if is_number(seconds):
        parts.append(f"{format_value(float(seconds))} s")
    return f'<p class="sub">{_text(" · ".join(parts))}</p>' if parts else ""


def _numbers(metrics: Mapping[str, Any]) -> str:
    tiles = "".join(
        f'<div class="number"><b>{_text(format_value(value))}</b><span>{_text(name)}</span></div>\n'
        for name, value in list(metrics.items())[:HEADLINES]
    )
    if len(metrics) <= HEADLINES:
        return f'<div class="numbers">\n{tiles}</div>' if tiles else ""
    rows = [{"metric": name, "value": value} for name, value in metrics.items()]
    everything = f"<details><summary>All {len(rows)} numbers</summary>{_table('', rows)}</details>"
    return f'<div class="numbers">\n{tiles}</div>\n{everything}'


def _pictures(pictures: Sequence[Picture]) -> str:
    body = "\n".join(_picture(picture) for picture in pictures)
    return f'<div class="pictures">\n{body}\n</div>' if body else ""


def _picture(picture: Picture) -> str:
    name, path = picture[:2]
    caption = picture[2] if len(picture) == 3 else None
    data = Path(path).read_bytes()
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < 24:
        raise ValueError(
            f"figure {name!r}: {Path(path).name} is no PNG; write it with save_figure or save_png"
        )
    width, height = struct.unpack(">II", data[16:24])
    kind = ' class="wide"' if width > 900 and width > 1.4 * height else ""
    note = f" <span>{_text(caption)}</span>" if caption else ""
    source = base64.b64encode(data).decode("ascii")
    return (
        f'<figure{kind}><img alt="{_text(name)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{source}">'
        f"<figcaption>{_text(name)}{note}</figcaption></figure>"
    )


def _table(name: str, rows: Rows) -> str:
    heading = f"<h3>{_text(name)}</h3>\n" if name else ""
    cells = format_table(rows)
    if not cells:
        return f'{heading}<p class="sub">no rows</p>\n'
    # A column of numbers is one whose every value is a number or absent.
    values = [[plain_scalar(row.get(key)) for row in rows] for key in column_names(rows)]
    numeric = [all(v is None or is_number(v) for v in column) for column in values]
    lines = [_row("th", cells[0], numeric), *(_row("td", row, numeric) for row in cells[1:])]
    body = "\n".join(lines)
    return f'{heading}<div class="scroll"><table>\n{body}\n</table></div>\n'


def _row(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    kinds = [' class="num"' if number else "" for number in numeric]
    body = (f"<{tag}{k}>{_text(cell)}</{tag}>" for k, cell in zip(kinds, cells, strict=True))
    return f"<tr>{''.join(body)}</tr>"


def _folded(name: str, mapping: Mapping[str, Any]) -> str:
    if not mapping:
        return ""
    return f"<details><summary>{_text(name)}</summary>\n{_entries(mapping)}</details>\n"


def _entries(mapping: Mapping[str, Any]) -> str:
    """Plain values as a list, nested mappings folded below it."""
    leaves = {key: value for key, value in mapping.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in mapping.items() if isinstance(value, Mapping)}
    items = "".join(
        f"<dt>{_text(key)}</dt><dd>{_text(plain_scalar(value))}</dd>\n"
        for key, value in leaves.items()
    )
    body = f"<dl>\n{items}</dl>\n" if items else ""
    return body + "".join(_folded(str(key), value) for key, value in nested.items())
