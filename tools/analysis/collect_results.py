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
from stt_mm.protocols import completed
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
ROW = re.compile(r'\| (?:t\d|liir-t\w+)-[\w-]+ \|')
EVALUATION = re.compile(r'(configs/eval/\w+\.py)(?:[^`]*? --cfg-options ([^`]+))?[^`]*`')
PAGE_BREAK = '\f'


class Benchmark(NamedTuple):
    """The result file of a metric, the number of videos that published numbers are for, and what a cell shows.

    ``{form}`` is STT or CRW, the form of PCK that belongs to the protocol; ``detail`` is what a cell shows in the table
    that has recalls.
    """

    metric: str
    file: str
    videos: int
    scale: float
    cell: str
    detail: str | None = None


BENCHMARKS = {
    benchmark.metric: benchmark
    for benchmark in (
        Benchmark(
            'DAVISMetric',
            'davis_results.json',
            30,
            100,
            '[J&F-Mean] ([J-Mean] / [F-Mean])',
            '[J&F-Mean] ([J-Mean], [J-Recall] / [F-Mean], [F-Recall])',
        ),
        Benchmark('VIPMetric', 'vip_results.json', 50, 100, '[mIoU]'),
        Benchmark('VIPInstanceMetric', 'vip_instance_results.json', 50, 100, '[AP]'),
        Benchmark('JHMDBMetric', 'jhmdb_results.json', 268, 1, '[{form}/PCK@0.1] / [{form}/PCK@0.2]'),
        Benchmark(
            'YouTubeVOSMetric',
            'ytv_results.json',
            474,
            100,
            '[Overall] ([J-Seen] / [F-Seen], [J-Unseen] / [F-Unseen])',
        ),
    )
}
MEASURE = re.compile(r'\[([^]]+)\]')
# The table of the LIIR paper that has recalls.
WITH_RECALL = 'liir-t1-'


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
    """What a row shows of a benchmark, in percent: ``J&F (J / F)``, mIoU, AP, PCK@0.1 / PCK@0.2, or YouTube-VOS.

    Raises:
        Refused: the file is not there or cannot be read, its protocol is another, or videos or frames are missing.
    """
    protocol, benchmark = expected(config, options)
    form = 'CRW' if protocol.get('points') == 'grid' or protocol.get('keypoints') == 'crw' else 'STT'
    path = folder / benchmark.file
    try:
        content = read_json(path)
        found = without_files(completed(content['protocol']))
        videos, scores = content['num_videos'], content['global']
        cell = benchmark.detail if benchmark.detail and folder.name.startswith(WITH_RECALL) else benchmark.cell
        text = MEASURE.sub(lambda found: f'{benchmark.scale * scores[found[1]]:.1f}', cell.format(form=form))
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = {KeyError: f'it has no {error}', TypeError: 'it is no table of names and values'}.get(type(error), error)
        raise Refused(f'{path} is no complete result of {benchmark.metric}: {what}') from error
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
    return text


def fill(page: str, results: Path) -> tuple[str, list[str], list[str]]:
    """Put results into the rows of a page.

    Args:
        page: Markdown with rows ``| t1-1 | ... |`` under a head with a column ``ours``; each names the commands that
            evaluate it, whose results lie in one folder.
        results: folder with a folder per row.

    Returns:
        The new page, a line per row that was filled, and a line per result that was refused.
    """
    filled, refused, columns = [], [], {}
    lines, known = page.split('\n'), set()
    for number, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'row':
            columns = {name: column for column, name in enumerate(cells)}
        if not ROW.match(line):
            continue
        known.add(cells[0])
        if (folder := results / cells[0]).is_dir():
            try:
                commands = evaluations(cells[columns['evaluation']])
                ours = '; '.join(read_cell(folder, ROOT / config, options) for config, options in commands)
            except Refused as error:
                refused.append(f'{cells[0]}: {error}')
            else:
                cells[columns['ours']] = ours
                lines[number] = f'| {" | ".join(cells)} |'
                filled.append(f'{cells[0]}: {ours}')
    refused += [
        f'{folder}: no row is called {folder.name}'
        for folder in sorted(results.iterdir())
        if folder.is_dir() and folder.name not in known
    ]
    return '\n'.join(lines), filled, refused


def evaluations(cell: str) -> list[tuple[str, dict[str, Any]]]:
    """The config and the overrides of each command in a cell.

    Raises:
        Refused: there is none.
    """
    found = [
        (config, {key: option_value(value) for key, _, value in (text.partition('=') for text in options.split())})
        for config, options in EVALUATION.findall(cell)
    ]
    if not found:
        raise Refused('the row has no command that evaluates it.')
    return found


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
