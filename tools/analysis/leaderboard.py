"""Published scores of label propagation next to ours, one table per protocol; see collect_results.py."""

import csv
import html
import io
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import NamedTuple

from stt_mm.errors import InputError, SttMMError
from stt_mm.protocols import PRESETS
from stt_mm.utils.text import read_text

ROOT = Path(__file__).resolve().parents[2]
DATA, PAGE = ROOT / 'docs' / 'leaderboard.csv', ROOT / 'docs' / 'leaderboard.md'
OR = ' or '
INTRODUCTION = (
    'Published scores of label propagation and, on the point benchmarks, of trackers, next to what this toolbox gives '
    'for the same weights. A score belongs to a network **and a protocol**: the same weights of PE-spatial G/14 score '
    "68.4 under DINOv3's protocol and 61.5 under DINO's script. Each protocol therefore has its own table, and scores "
    'from different tables cannot be compared.',
    '`tools/test.py` runs the protocols whose names are set as code ([protocols.md](protocols.md)); two names in one '
    'title are the same protocol for two patch sizes. The other protocols cannot be run here.',
    '"ours" is "not run" where the [configs](reproduction.md#where-the-rows-are) have a command, in the row that is '
    'named. `python tools/analysis/collect_results.py results --write` fills it in, from results that match the '
    "table's protocol in every field. † marks a score quoted at second hand.",
    'To add rows, edit [leaderboard.csv](leaderboard.csv) and run the same command: it also writes this page.',
)
HEAD = ('system', 'network', 'training labels', 'published', 'ours', 'row', 'source')


class Refused(SttMMError):
    """What does not belong together; the message says why."""


class Row(NamedTuple):
    """A published number.

    ``protocol`` is a preset, or several that mean the same, joined by " or ", or what a protocol that is none here is
    called. ``score`` begins with the number that counts. ``row`` is the row of configs/*/README.md whose command
    evaluates it, or the folder of one's own results; ``ours`` is what it gave. ``checked`` is no for a number that was
    not read at its source.
    """

    benchmark: str
    measure: str
    protocol: str
    system: str
    network: str
    labels: str
    score: str
    row: str
    ours: str
    checked: str
    source: str

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets of the protocol; none for one that cannot be run here."""
        names = tuple(self.protocol.split(OR))
        return names if set(names) <= PRESETS.keys() else ()

    @property
    def table(self) -> tuple[str, str, str]:
        """What two numbers must share to be comparable."""
        return self.benchmark, self.measure, self.protocol

    @property
    def name(self) -> str:
        return f'{self.system} {self.network}'.strip()


def leading(score: str) -> float:
    """The number that a score begins with."""
    found = re.match(r'\d+(\.\d+)?', score)
    if not found:
        raise InputError(f'A score begins with a number, got {score!r}.')
    return float(found[0])


def read_rows(path: Path = DATA) -> list[Row]:
    """The rows of the CSV file, refused if one lacks what makes its number mean something."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    if tuple(reader.fieldnames or ()) != Row._fields:
        raise InputError(f'{path} must have the columns {", ".join(Row._fields)}, got {reader.fieldnames}.')
    rows = []
    for number, entry in enumerate(reader, start=2):
        if None in entry or None in entry.values():
            raise InputError(f'{path}, line {number} has not {len(Row._fields)} cells.')
        row = Row(**entry)
        lacking = [key for key in ('benchmark', 'measure', 'protocol', 'system', 'source') if not getattr(row, key)]
        if lacking or row.checked not in ('yes', 'no'):
            raise InputError(
                f'{path}, line {number}: {", ".join(lacking) or "checked, which is yes or no"} is missing.'
            )
        if not row.score and not row.row:
            raise InputError(f'{path}, line {number} has neither a score nor a row.')
        for score in filter(None, (row.score, row.ours)):
            leading(score)
        rows.append(row)
    return rows


def write_rows(rows: Iterable[Row]) -> str:
    """The content of the CSV file."""
    with io.StringIO(newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(Row._fields)
        writer.writerows(rows)
        return file.getvalue()


def difference(first: Row, second: Row) -> float:
    """How much the published number of one row is above that of another.

    Raises:
        Refused: they are of two benchmarks, measures or protocols, or one has no published number.
    """
    for what in ('benchmark', 'measure', 'protocol'):
        values = getattr(first, what), getattr(second, what)
        if values[0] != values[1]:
            raise Refused(
                f'{first.name} and {second.name} are not comparable: the {what} of the one is {values[0]}, of the '
                f'other {values[1]}.'
            )
    if not first.score or not second.score:
        raise Refused(f'{first.name} and {second.name} are not comparable: one of them has no published number.')
    return leading(first.score) - leading(second.score)


def compared(rows: Sequence[Row], first: str, second: str) -> list[str]:
    """A line for each pair of rows of two systems (or system and network) in one table.

    Raises:
        Refused: there is no such pair. ValueError: one of the systems has no row.
    """
    found = [[row for row in rows if name in (row.system, row.name)] for name in (first, second)]
    for name, own in zip((first, second), found, strict=True):
        if not own:
            raise InputError(
                f'{DATA.name} has no system {name!r}. It has {", ".join(sorted({r.system for r in rows}))}.'
            )
    # Of a system with itself, its rows with each other, each pair once.
    pairs: dict[frozenset[int], tuple[Row, Row]] = {}
    for one, other in product(*found):
        if one is not other:
            pairs.setdefault(frozenset((id(one), id(other))), (one, other))
    if not pairs:
        raise Refused(f'{first} has one row in {DATA.name}, and nothing else to compare it with. Name two systems.')
    lines, refusals = [], []
    for one, other in pairs.values():
        try:
            step = difference(one, other)
        except Refused as error:
            refusals.append(error)
        else:
            lines.append(
                f'{one.benchmark}, {one.measure}, {one.protocol}: {one.name} {one.score}, {other.name} {other.score}, '
                f'{step:+.1f}'
            )
    if not lines:
        raise refusals[0]
    return lines


def page(rows: Sequence[Row]) -> str:
    """The page in Markdown."""
    parts = ['# Leaderboard', *INTRODUCTION]
    for benchmark, protocol, table in _tables(rows):
        parts += [] if benchmark is None else [f'## {benchmark}']
        parts.append(f'### {protocol}')
        lines = [f'| {" | ".join(HEAD)} |', '| --- ' * len(HEAD) + '|']
        lines += [f'| {" | ".join(cell.replace("|", "/") for cell in _cells(row))} |' for row in table]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts) + '\n'


def html_page(rows: Sequence[Row]) -> str:
    """The same as a page of its own."""
    style = (
        'body{font-family:sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}'
        'td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left}'
    )
    parts = ['<h1>Leaderboard</h1>', *(f'<p>{_inline(text)}</p>' for text in INTRODUCTION)]
    for benchmark, protocol, table in _tables(rows):
        parts += [] if benchmark is None else [f'<h2>{html.escape(benchmark)}</h2>']
        parts.append(f'<h3>{_inline(protocol)}</h3>')
        lines = [_line('th', HEAD), *(_line('td', _cells(row)) for row in table)]
        parts.append('<table>\n{}\n</table>'.format('\n'.join(lines)))
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Leaderboard</title><style>{style}</style>'
    return '\n'.join([head, *parts, '</html>']) + '\n'


def _line(kind: str, cells: Iterable[str]) -> str:
    return f'<tr>{"".join(f"<{kind}>{_inline(cell)}</{kind}>" for cell in cells)}</tr>'


def _inline(text: str) -> str:
    """HTML of a text with code letters, bold and links; of these the text remains."""
    text = re.sub(r'\[([^]]+)\]\([^)]*\)', r'\1', html.escape(text, quote=False))
    return re.sub(r'\*\*([^*]+)\*\*', r'<b>\1</b>', re.sub(r'`([^`]+)`', r'<code>\1</code>', text))


def _tables(rows: Sequence[Row]) -> Iterable[tuple[str | None, str, list[Row]]]:
    """The benchmark, where it begins, the title of a table, and its rows, the best first.

    Benchmarks stand in the order of the file; in each of them measures and protocols, those that can be run here first.
    """
    order = list(dict.fromkeys(row.benchmark for row in rows))
    place: Callable[[Row], tuple] = lambda row: (  # noqa: E731 one key for sorting and grouping
        order.index(row.benchmark),
        row.measure,
        not row.presets,
        row.protocol,
    )
    before = None
    for _, group in groupby(sorted(rows, key=place), place):
        table = sorted(group, key=lambda row: (-leading(row.score or row.ours or '0'), row.name))
        first = table[0]
        protocol = OR.join(f'`{name}`' for name in first.presets) or first.protocol
        yield None if first.benchmark == before else first.benchmark, f'{protocol}: {first.measure}', table
        before = first.benchmark


def _cells(row: Row) -> tuple[str, ...]:
    ours = row.ours or ('not run' if row.row else '')
    if row.ours and row.score:
        ours += f', {leading(row.ours) - leading(row.score):+.1f}'
    score = f'{row.score}{" †" if row.checked == "no" else ""}' if row.score else ''
    return row.system, row.network, row.labels, score, ours, row.row, row.source
