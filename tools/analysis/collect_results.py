"""Fill the column "ours" of configs/*/README.md from result files, each only if it was made as its row says."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from stt_mm.engine import load_config
from stt_mm.engine.cli import one_line_errors, option_value, tool_parser
from stt_mm.errors import MissingInputError, SttMMError
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.text import absent, read_json, read_text

ROOT = Path(__file__).resolve().parents[2]
EPILOG = """examples:
  python tools/test.py configs/eval/davis_r18_s8.py CHECKPOINT --work-dir results/t3-ours-r18
  python tools/analysis/collect_results.py results                 (shows what would be filled in)
  python tools/analysis/collect_results.py results --write

The folder of a result has the name of its row. A result is refused if its protocol is not that of the row's config in
every field, or if it was not made on all frames of all videos of the benchmark. The exit code is 1 if one was
refused."""
PAGES = sorted((ROOT / 'configs').glob('*/README.md'))
ROW = re.compile(r'^\| (t\d-[\w-]+) \|.*$', re.MULTILINE)
EVALUATION = re.compile(r'configs/eval/\w+\.py')
OPTIONS = re.compile(r'--cfg-options ([^`]+)`')
PAGE_BREAK = '\f'


class Benchmark(NamedTuple):
    """The result file of a metric, the number of videos that published numbers are for, and what a cell shows.

    ``{form}`` is STT or CRW, the form of PCK that belongs to the protocol.
    """

    metric: str
    file: str
    videos: int
    scale: float
    measures: tuple[str, ...]


BENCHMARKS = {
    benchmark.metric: benchmark
    for benchmark in (
        Benchmark('DAVISMetric', 'davis_results.json', 30, 100, ('J&F-Mean', 'J-Mean', 'F-Mean')),
        Benchmark('VIPMetric', 'vip_results.json', 50, 100, ('mIoU',)),
        Benchmark('JHMDBMetric', 'jhmdb_results.json', 268, 1, ('{form}/PCK@0.1', '{form}/PCK@0.2')),
    )
}


class Refused(SttMMError):
    """A result that does not belong into its row; the message says why."""


def expected(config: Path, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Benchmark]:
    """The record of the protocol that a result of a config, with overrides, must have, and its benchmark."""
    cfg = load_config(config, options)
    return without_files(MODELS.build(cfg.model).protocol), BENCHMARKS[cfg.test_evaluator.type]


def without_files(protocol: dict[str, Any]) -> dict[str, Any]:
    """The record as a file has it, less the names of the checkpoints of fused networks."""
    record = json.loads(json.dumps(protocol))
    for network in record.get('fusion', ()):
        network.pop('checkpoint', None)
        network.pop('sha8', None)
    return record


def read_cell(folder: Path, config: Path, options: dict[str, Any] | None = None) -> str:
    """What a row shows: ``J&F (J / F)``, mIoU, or PCK@0.1 / PCK@0.2, in percent.

    Raises:
        Refused: the file is not there or cannot be read, its protocol is another, or videos or frames are missing.
    """
    protocol, benchmark = expected(config, options)
    form = 'CRW' if protocol.get('points') == 'grid' or protocol.get('keypoints') == 'crw' else 'STT'
    path = folder / benchmark.file
    try:
        content = read_json(path)
        found, videos, scores = without_files(content['protocol']), content['num_videos'], content['global']
        values = [benchmark.scale * scores[measure.format(form=form)] for measure in benchmark.measures]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f'{path} is no complete result of {benchmark.metric}: {type(error).__name__}: {error}') from error
    differing = sorted(key for key in protocol.keys() | found.keys() if protocol.get(key) != found.get(key))
    if differing:
        named = '; '.join(f'{key} is {found.get(key)!r}, not {protocol.get(key)!r}' for key in differing)
        raise Refused(f'{path} was made under another protocol than {config.name} has: {named}')
    if videos != benchmark.videos:
        raise Refused(f'{path} is of {videos} videos, the benchmark has {benchmark.videos}.')
    if 'max_frames' not in content:
        raise Refused(f'{path} does not say on which frames it was made. Evaluate again.')
    if content['max_frames'] is not None:
        raise Refused(
            f'{path} is of the first {content["max_frames"]} frames of each video. Evaluate again without max_frames.'
        )
    texts = [f'{value:.1f}' for value in values]
    return f'{texts[0]} ({texts[1]} / {texts[2]})' if len(texts) == 3 else ' / '.join(texts)


def fill(page: str, results: Path) -> tuple[str, list[str], list[str]]:
    """Put results into the rows of a page.

    Args:
        page: Markdown with rows ``| t1-1 | ... |`` under a head with a column ``ours``, each naming a config of
            ``configs/eval``.
        results: folder with a folder per row.

    Returns:
        The new page, a line per row that was filled, and a line per result that was refused.
    """
    filled, refused, column = [], [], None
    lines, known = page.split('\n'), set()
    for number, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'row':
            column = cells.index('ours')
        if not ROW.match(line):
            continue
        known.add(cells[0])
        if (folder := results / cells[0]).is_dir():
            try:
                cells[column] = read_cell(folder, ROOT / EVALUATION.search(line).group(), options_of(line))
            except Refused as error:
                refused.append(f'{cells[0]}: {error}')
            else:
                lines[number] = f'| {" | ".join(cells)} |'
                filled.append(f'{cells[0]}: {cells[column]}')
    refused += [
        f'{folder}: no row is called {folder.name}'
        for folder in sorted(results.iterdir())
        if folder.is_dir() and folder.name not in known
    ]
    return '\n'.join(lines), filled, refused


def options_of(row: str) -> dict[str, Any]:
    """The overrides of the command in a row."""
    found = OPTIONS.search(row)
    options = (option.partition('=') for option in found[1].split()) if found else ()
    return {key: option_value(value) for key, _, value in options}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('results', type=Path, help='folder with a folder per row, the --work-dir of tools/test.py')
    parser.add_argument('--write', action='store_true', help='change configs/*/README.md; otherwise only show')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        if not args.results.is_dir():
            raise MissingInputError(f'{absent(args.results, "folder")}. Expected one with a folder per row.')
        # One text, so that a row is looked for on all pages.
        text, filled, refused = fill(PAGE_BREAK.join(map(read_text, PAGES)), args.results)
        for path, page in zip(PAGES, text.split(PAGE_BREAK), strict=True):
            if args.write and page != read_text(path):
                write_atomically(page.encode(), path)
    print('\n'.join([*filled, *(f'refused: {line}' for line in refused)]) or 'no results')
    sys.exit(bool(refused))


if __name__ == '__main__':
    main()
