"""Fill in the "ours" columns from result files, and write the leaderboard.

The columns are in configs/*/README.md and docs/leaderboard.md. Only results that were made as their row says are taken.
"""

import argparse
import json
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from leaderboard import DATA, PAGE, Refused, Row, compared, html_page, page, read_rows, write_rows

from stt_mm.engine import load_config
from stt_mm.engine.cli import one_line_errors, option_value, tool_parser
from stt_mm.errors import MissingInputError, SttMMError
from stt_mm.protocols import PRESETS, completed
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.utils.targets import check_file
from stt_mm.utils.text import absent, read_json, read_text

ROOT = Path(__file__).resolve().parents[2]
EPILOG = """examples:
  python tools/test.py configs/eval/davis_r18_s8.py CHECKPOINT --work-dir results/t3-ours-r18
  python tools/analysis/collect_results.py results                 (shows what would be filled in)
  python tools/analysis/collect_results.py results --write
  python tools/analysis/collect_results.py --write --html leaderboard.html   (from docs/leaderboard.csv alone)
  python tools/analysis/collect_results.py --compare STT CRW

The folder of a result has the name of its row in configs/*/README.md or docs/leaderboard.csv. A result is refused if
its protocol differs from the row's in any field, or if it does not cover all frames of all videos of the benchmark.
--compare refuses systems that share no protocol. The exit code is 1 if anything was refused."""
PAGES = sorted((ROOT / 'configs').glob('*/README.md'))
ROW = re.compile(r'\| (?:t\d|liir-t\w+)-[\w-]+ \|')
EVALUATION = re.compile(r'(configs/eval/\w+\.py)(?:[^`]*? --cfg-options ([^`]+))?[^`]*`')
PAGE_BREAK = '\f'
LEADERBOARD, LEADERBOARD_PAGE = DATA, PAGE
# In the record of a protocol, what is said of the network.
OF_THE_NETWORK = ('feature_stage', 'feature_stages', 'statistics', 'fusion')


class Benchmark(NamedTuple):
    """The result file of a metric, the number of videos that published numbers are for, and what a cell shows.

    ``metric`` is the data set where several share a metric.
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
        Benchmark(
            'TAPVidMetric',
            'tap_vid_results.json',
            30,
            100,
            '[average_jaccard] / [average_pts_within_thresh] / [occlusion_accuracy]',
        ),
        Benchmark('BADJAMetric', 'badja_results.json', 7, 1, '[PCK@0.2]'),
        Benchmark('MOSE', 'objects_results.json', 311, 100, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
        Benchmark('LVOS', 'objects_results.json', 140, 100, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
        Benchmark('SAV', 'objects_results.json', 155, 100, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
    )
}
# What reading a file that is no result raises.
DAMAGED = (SttMMError, AttributeError, KeyError, TypeError, ValueError)
MEASURE = re.compile(r'\[([^]]+)\]')
# The table of the LIIR paper that has recalls.
WITH_RECALL = 'liir-t1-'


# What a row of the leaderboard shows, by its benchmark and measure: the metric, the query mode, and the cell.
SHOWN = {
    ('DAVIS-2017 val', 'J&F'): ('DAVISMetric', None, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
    ('YouTube-VOS 2018 val', 'overall'): ('YouTubeVOSMetric', None, '[Overall]'),
    ('MOSE val', 'J&F'): ('MOSE', None, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
    ('LVOS v2 val', 'J&F'): ('LVOS', None, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
    ('SA-V val', 'J&F'): ('SAV', None, '[J&F-Mean] ([J-Mean] / [F-Mean])'),
    ('VIP val', 'mIoU'): ('VIPMetric', None, '[mIoU]'),
    ('JHMDB split 1', 'PCK@0.1 / PCK@0.2'): ('JHMDBMetric', None, '[{form}/PCK@0.1] / [{form}/PCK@0.2]'),
    ('BADJA', 'PCK@0.2'): ('BADJAMetric', None, '[PCK@0.2]'),
    **{
        (f'TAP-Vid DAVIS, queries {mode}', measure): ('TAPVidMetric', mode, f'[{key}]')
        for mode in ('first', 'strided')
        for measure, key in (('AJ', 'average_jaccard'), ('points within a threshold', 'average_pts_within_thresh'))
    },
}


def expected(config: Path, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Benchmark]:
    """The record of the protocol that a result of a config, with overrides, must have, and its benchmark."""
    cfg = load_config(config, options)
    metric = cfg.test_evaluator.type
    return (
        without_files(MODELS.build(cfg.model).protocol),
        BENCHMARKS[cfg.test_dataloader.dataset.type if metric == 'ObjectVideoMetric' else metric],
    )


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
    cell = benchmark.detail if benchmark.detail and folder.name.startswith(WITH_RECALL) else benchmark.cell
    mode = load_config(config, options).test_dataloader.dataset.get('query_mode')
    return checked_cell(folder, benchmark, cell, protocol, config.name, mode)


def checked_cell(
    folder: Path, benchmark: Benchmark, cell: str, protocol: dict[str, Any], owner: str, mode: str | None = None
) -> str:
    """The cell of a result that was made as it must have been.

    Args:
        folder: of the result.
        benchmark: what it is a result of.
        cell: what to show.
        protocol: the record that it must have; ``owner`` is what has that protocol, for the message.
        mode: of the queries, in TAP-Vid.

    Raises:
        Refused: as :func:`read_cell`.
    """
    form = 'CRW' if protocol.get('points') == 'grid' or protocol.get('keypoints') == 'crw' else 'STT'
    path = folder / benchmark.file
    try:
        content = read_json(path)
        found = without_files(completed(content['protocol']))
        videos, scores = content['num_videos'], content['global']
        text = MEASURE.sub(lambda found: f'{benchmark.scale * scores[found[1]]:.1f}', cell.format(form=form))
    except DAMAGED as error:
        raise Refused(f'{path} is no complete result of {benchmark.metric}: {damage(error)}') from error
    differing = sorted(key for key in protocol.keys() | found.keys() if protocol.get(key) != found.get(key))
    if differing:
        named = '; '.join(f'{key} is {found.get(key)!r}, not {protocol.get(key)!r}' for key in differing)
        raise Refused(f'{path} was made under another protocol than {owner} has: {named}')
    if content.get('query_mode') != mode:
        raise Refused(f'{path} is of queries {content.get("query_mode")}, not {mode}.')
    if videos != benchmark.videos:
        raise Refused(f'{path} is of {videos} videos, the benchmark has {benchmark.videos}.')
    if 'max_frames' not in content:
        raise Refused(f'{path} does not say on which frames it was made. Evaluate again.')
    if content['max_frames'] is not None:
        raise Refused(
            f'{path} is of the first {content["max_frames"]} frames of each video. Evaluate again without max_frames.'
        )
    return text


def damage(error: Exception) -> str:
    """What is wrong with the content of a result file, in words."""
    if isinstance(error, SttMMError):
        return str(error)
    return f'it has no {error}' if isinstance(error, KeyError) else 'it is no table of names and values'


def fill_leaderboard(rows: list[Row], results: Path) -> tuple[list[Row], list[str], list[str]]:
    """Put results into the rows of the leaderboard, as :func:`fill` does into those of a page.

    The protocol of a result must be a preset of its table, unchanged. What else a record holds, such as the stage of
    the features, is the network's.
    """
    filled, refused, new = [], [], []
    for row in rows:
        folder = results / row.row
        if row.row and folder.is_dir():
            try:
                row = row._replace(ours=leaderboard_cell(folder, row))
            except Refused as error:
                refused.append(f'{row.row} in {LEADERBOARD.name}: {error}')
            else:
                filled.append(f'{row.row} in {LEADERBOARD.name}: {row.ours}')
        new.append(row)
    return new, filled, refused


def leaderboard_cell(folder: Path, row: Row) -> str:
    """What a row of the leaderboard shows of a result.

    Raises:
        Refused: the row's protocol cannot be run here, or as :func:`read_cell`.
    """
    if row.table[:2] not in SHOWN or not row.presets:
        raise Refused(f'{row.benchmark}, {row.measure} under {row.protocol} cannot be run here.')
    metric, mode, cell = SHOWN[row.table[:2]]
    benchmark = BENCHMARKS[metric]
    try:
        found = without_files(completed(read_json(folder / benchmark.file)['protocol']))
        name = found['name']
    except DAMAGED as error:
        raise Refused(f'{folder / benchmark.file} is no complete result of {metric}: {damage(error)}') from error
    if name not in row.presets:
        raise Refused(f'{folder} was made under {name}, but the table is of {row.protocol}; the two are not compared.')
    record = json.loads(json.dumps(PRESETS[name].record()))
    keys = (*OF_THE_NETWORK, 'color') if 'fusion' in found else OF_THE_NETWORK  # each fused network has its own
    network = {key: value for key, value in found.items() if key in keys}
    return checked_cell(folder, benchmark, cell, record | network, f'the preset {name}', mode)


def fill(page: str, results: Path, also: Collection[str] = ()) -> tuple[str, list[str], list[str]]:
    """Put results into the rows of a page.

    Args:
        page: Markdown with rows ``| t1-1 | ... |`` under a head with a column ``ours``; each names the commands that
            evaluate it, whose results lie in one folder.
        results: folder with a folder per row.
        also: names of rows that are elsewhere.

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
        if folder.is_dir() and folder.name not in known.union(also)
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
    parser.add_argument(
        'results', type=Path, nargs='?', help='folder with one folder per row, each a --work-dir of tools/test.py'
    )
    parser.add_argument(
        '--write',
        action='store_true',
        help='change configs/*/README.md and docs/leaderboard.* (default: only show the changes)',
    )
    parser.add_argument('--html', type=Path, metavar='FILE.html', help='write the leaderboard as a page of its own')
    parser.add_argument(
        '--compare', nargs=2, metavar='SYSTEM', help='print how far two systems are apart in the tables that have both'
    )
    args = parser.parse_args(argv)
    if not any((args.results, args.write, args.html, args.compare)):
        parser.error('there is nothing to do: give a folder of results, --write, --html or --compare')
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        rows, filled, refused = read_rows(LEADERBOARD), [], []
        if args.compare:
            print('\n'.join(compared(rows, *args.compare)))
        if args.results is not None:
            if not args.results.is_dir():
                raise MissingInputError(f'{absent(args.results, "folder")}. Expected one with a folder per row.')
            rows, filled, refused = fill_all(rows, args.results, args.write)
            print('\n'.join([*filled, *(f'refused: {line}' for line in refused)]) or 'no results')
        if args.write:
            for path, content in ((LEADERBOARD, write_rows(rows)), (LEADERBOARD_PAGE, page(rows))):
                if not path.is_file() or content != read_text(path):
                    write_atomically(content.encode(), path)
        if args.html:
            check_file(args.html, [LEADERBOARD, LEADERBOARD_PAGE, *PAGES])
            write_atomically(html_page(rows).encode(), args.html)
    sys.exit(bool(refused))


def fill_all(rows: list[Row], results: Path, write: bool) -> tuple[list[Row], list[str], list[str]]:
    """Fill the rows of all pages, which are changed if so wanted, and those of the leaderboard, which are returned."""
    # One text, so that a row is looked for on all pages.
    own = {row.row for row in rows}
    text, filled, refused = fill(PAGE_BREAK.join(map(read_text, PAGES)), results, own)
    for path, content in zip(PAGES, text.split(PAGE_BREAK), strict=True):
        if write and content != read_text(path):
            write_atomically(content.encode(), path)
    rows, more, wrong = fill_leaderboard(rows, results)
    return rows, [*filled, *more], [*refused, *wrong]


if __name__ == '__main__':
    main()
