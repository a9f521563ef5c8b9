"""Print results side by side, and where their protocols or frames differ."""

import argparse
import json
from pathlib import Path
from typing import Any

from stt_mm.engine.cli import one_line_errors, tool_parser
from stt_mm.errors import InputError
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.protocols import completed
from stt_mm.utils.text import read_json

EPILOG = """example:
  python tools/test.py configs/eval/davis_r18_s8.py none --out untrained.json
  python tools/test.py configs/eval/davis_r18_s8.py work_dirs/stt_r18_ytv/iter_90000.pth --out stt.json
  python tools/analysis/compare_results.py untrained.json stt.json

Each line has the name of its file, without ending; files of the same name get their folders too."""
# What says where the numbers come from, and does not change a result.
SOURCES = ('source', 'changed')


def read_result(path: Path) -> dict[str, Any]:
    """A file that ``tools/test.py --out`` wrote."""
    content = read_json(path)
    try:
        protocol = dict(content['protocol'] or {}, max_frames=content['max_frames'])
        return dict(metrics={name: float(value) for name, value in content['metrics'].items()}, protocol=protocol)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f'{path} is no result of tools/test.py, the file that its --out names.') from None


def compared(results: dict[str, dict[str, Any]]) -> str:
    """The table of the metrics that all results have, and a line per field of the protocol in which they differ.

    Args:
        results: ``metrics`` and ``protocol``, with ``max_frames`` in it, by the name of the line.
    """
    common = [
        name
        for name in next(iter(results.values()))['metrics']
        if all(name in result['metrics'] for result in results.values())
    ]
    if not common:
        raise InputError(f'{", ".join(results)} have no metric in common: they are of different benchmarks.')
    lines = [text_table({row: {name: result['metrics'][name] for name in common} for row, result in results.items()})]
    protocols = {row: result['protocol'] for row, result in results.items()}
    fields = dict.fromkeys(field for protocol in protocols.values() for field in protocol if field not in SOURCES)
    for field in fields:
        values = {row: _said(protocol, field) for row, protocol in protocols.items()}
        if any(value != next(iter(values.values())) for value in values.values()):
            lines.append(
                f'not the same {field}: ' + ', '.join(f'{row} {json.dumps(value)}' for row, value in values.items())
            )
    return '\n'.join(lines)


def _said(protocol: dict[str, Any], field: str) -> Any:
    """A field of a record, which may be older than the field; ``None`` of a result without a protocol."""
    return completed(protocol).get(field) if len(protocol) > 1 else protocol.get(field)


def named(paths: list[Path]) -> dict[str, Path]:
    """Files by the name without ending, with as many folders before it as tell all of them apart."""
    places = [path.absolute().with_suffix('').parts for path in paths]
    if len(set(places)) < len(places):
        raise InputError('A file is named twice; lines are told apart by the path without ending.')
    count = next(k for k in range(1, 1000) if len({place[-k:] for place in places}) == len(places))
    return {'/'.join(place[-count:]): path for place, path in zip(places, paths, strict=True)}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument(
        'results', nargs='+', type=Path, metavar='FILE.json', help='results that tools/test.py --out wrote'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        results = {name: read_result(path) for name, path in named(args.results).items()}
        text = compared(results)
    print(text)


if __name__ == '__main__':
    main()
