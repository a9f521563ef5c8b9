"""Results as JSON and CSV files, and as text for the log."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from stt_mm.utils.checkpoint import write_atomically


def write_json(path: str | Path, content: dict) -> None:
    """Writes an indented JSON file, whole or not at all."""
    write_atomically((json.dumps(content, indent=2) + '\n').encode(), path)


def write_csv(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows with the same keys as a CSV file with a header, whole or not at all."""
    with io.StringIO(newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(file.getvalue().encode(), path)


def text_table(rows: dict[str, dict[str, float]]) -> str:
    """Numbers by row and column, four decimals, for the log."""
    width, measures = max(map(len, rows)), list(next(iter(rows.values())))
    columns = [max(len(measure), 8) + 2 for measure in measures]
    lines = [' ' * width + ''.join(f'{measure:>{size}}' for measure, size in zip(measures, columns, strict=True))]
    for name, row in rows.items():
        numbers = (f'{row[measure]:{size}.4f}' for measure, size in zip(measures, columns, strict=True))
        lines.append(f'{name:<{width}}' + ''.join(numbers))
    return '\n'.join(lines)
