"""Tables as plain text, Markdown and HTML."""

import html
from collections.abc import Sequence
from typing import Any

from compad_jax.reports.wording import (
    Summary,
    final_of,
    in_shares,
    overall_of,
    percent,
    shorten,
    worst_of,
)


def row_of(summary: Summary) -> dict[str, str]:
    """An evaluation, by its `summary.json`, as a line of a table: cells by their columns.

    `overall`, `final` (the last tenth of the episodes) and `worst task` (its final value) are
    shares of the optimum; where none is known they are returns, and the final one is also compared
    with the source's.
    """
    share = summary.get("final_share_of_source_return")
    row = {
        "run": summary["run"],
        "method": summary["method"],
        "acting": summary["action_selection"],
        "overall": overall_of(summary),
        "final [95% CI]": final_of(summary),
        "worst task": worst_of(summary),
    }
    if in_shares(summary):
        row["to 90%"] = str(summary["episodes_to_90_percent"] or "never")
    else:
        row["of its source"] = "-" if share is None else f"{percent(share)}%"
    return row | {
        "compressions": f"{summary['num_compressions']:,}",
        "steps/s": f"{summary['env_steps_per_second']:,.0f}",
    }


def text_table(summaries: Sequence[Summary], *, width: int = 110) -> str:
    """Formats evaluations as aligned plain text of at most `width` columns; see `row_of`.

    A long run name loses its middle.
    """
    rows = [row_of(summary) for summary in summaries]
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sizes[0] = min(sizes[0], width - sum(sizes[1:]) - 2 * len(sizes[1:]))
    cells = "  ".join(f"{{:{'<' if i < 3 else '>'}{size}}}" for i, size in enumerate(sizes))
    return "\n".join(cells.format(shorten(run, sizes[0]), *others) for run, *others in lines)


def plain_table(records: Sequence[Summary]) -> str:
    """Formats dictionaries with equal keys as aligned text; empty columns are left out."""
    names = [name for name in records[0] if any(record[name] for record in records)]
    lines = [names, *([str(record[name]) for name in names] for record in records)]
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, sizes)).rstrip() for line in lines)


def markdown_table(records: Sequence[Summary]) -> str:
    """Formats dictionaries with equal keys, a row each."""
    lines = [list(records[0]), ["---"] * len(records[0]), *(r.values() for r in records)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def html_table(records: Sequence[Summary]) -> str:
    """Table of dictionaries with equal keys, with everything escaped."""
    lines = [[f"<th>{html.escape(name)}</th>" for name in records[0]]] if records else []
    lines += [[f"<td>{html.escape(_format(x))}</td>" for x in r.values()] for r in records]
    rows = "".join(f"\n<tr>{''.join(line)}</tr>" for line in lines)
    return f'<div class="tables"><table>{rows}</table></div>'


def _format(value: Any) -> str:
    """Text of a value for people."""
    if isinstance(value, int | float) and abs(value) >= 1e4:
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        value = [f"{name} {_format(item)}" for name, item in value.items()]
    if isinstance(value, list):
        return ", ".join(map(_format, value))
    return "-" if value is None else str(value)
