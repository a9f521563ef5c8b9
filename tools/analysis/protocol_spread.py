"""Score one network under all protocols of a benchmark."""

import argparse
import signal
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mmengine.config import Config

from stt_mm.engine import load_config
from stt_mm.engine.cli import add_config_options, add_weight_arguments, one_line_errors, tool_parser
from stt_mm.engine.steps import keep_config, reserved, run_step
from stt_mm.errors import InputError
from stt_mm.evaluation.metrics.tables import write_csv
from stt_mm.protocols import PRESETS, get_protocol
from stt_mm.utils.checkpoint import sha8, write_atomically
from stt_mm.utils.targets import check_apart
from stt_mm.utils.text import read_json
from stt_mm.visualization import write_figure

ROOT = Path(__file__).resolve().parents[2]
EPILOG = """examples:
  python tools/analysis/protocol_spread.py configs/eval/davis_r18_s8.py stt_r18.pth --work-dir work_dirs/spread
  python tools/analysis/protocol_spread.py configs/eval/davis_r18_s8.py none --work-dir work_dirs/spread \\
      --protocols stt_davis_s8 vfs_davis_r18 crw_davis --cfg-options test_dataloader.dataset.max_frames=10

The network, its stride and its colours are CONFIG's; everything else (size, memory, window, votes, read-out) is the
protocol's. Each protocol is evaluated by tools/test.py in its own folder below --work-dir, and finished ones are not
run again. The table is sorted by the first measure; its last column has the differences from CONFIG's protocol."""
# Fields in which protocols do not differ here: what they are called, and what CONFIG has of its network.
SHARED = ('name', 'version', 'source', 'changed', 'color', 'stride')
OPTIONS = ('trust_checkpoint', 'allow_other_geometry')  # handed on to tools/test.py
BENCHMARKS = ('davis', 'ytv', 'mose', 'vip', 'jhmdb', 'tapvid', 'badja')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('config', help='evaluation config with the network and the benchmark')
    parser.add_argument('checkpoint', help='weights of the backbone, or "none"')
    parser.add_argument('--work-dir', type=Path, required=True, help='where runs, table.md, runs.csv and spread.png go')
    parser.add_argument(
        '--protocols', nargs='+', metavar='NAME', help="protocols to compare (default: all of CONFIG's benchmark)"
    )
    add_config_options(parser)
    add_weight_arguments(parser, ['trust-checkpoint', 'allow-other-geometry'])
    return parser.parse_args(argv)


def benchmark_of(name: str) -> str | None:
    """What a protocol is for, as its name says."""
    return next((part for part in name.split('_') if part in BENCHMARKS), None)


def chosen(cfg: Config, names: list[str] | None) -> list[str]:
    """The protocols to compare, that of the config first."""
    own = get_protocol(cfg.model.propagator.protocol)
    for name in names or ():
        get_protocol(name)
    kind = benchmark_of(own.name)
    found = names or [name for name in PRESETS if benchmark_of(name) == kind]
    return [own.name, *(name for name in dict.fromkeys(found) if name != own.name)]


def config_of(cfg: Config, name: str) -> Config:
    """The config under another protocol, which sees the colours of the one it has."""
    own = get_protocol(cfg.model.propagator.protocol)
    if name == own.name:
        return cfg
    other = Config(cfg.to_dict())
    color = {} if get_protocol(name).color == own.color else dict(color=own.color)
    other.model.propagator.protocol = dict(name=name, **color)
    return other


def differences(cfg: Config, name: str) -> str:
    """The fields in which a protocol is not that of the config."""
    own, other = (get_protocol(each.model.propagator.protocol) for each in (cfg, config_of(cfg, name)))
    before, after = own.record(), other.record()
    return ', '.join(f'{key} {value}' for key, value in after.items() if key not in SHARED and value != before[key])


def evaluate(cfg: Config, args: argparse.Namespace, name: str, lock: int) -> dict[str, float]:
    """The measures under one protocol, which are read if they are there.

    Raises:
        ValueError: those that are there are of another checkpoint.
    """
    folder = args.work_dir / name
    result = folder / 'result.json'
    kept = keep_config(config_of(cfg, name), folder / 'eval.py')
    arguments = [kept, args.checkpoint, '--work-dir', str(folder / 'eval'), '--out', str(result), '--skip-done']
    arguments += [f'--{option.replace("_", "-")}' for option in OPTIONS if getattr(args, option)]
    if not result.is_file():
        run_step(['tools/test.py', *arguments], ROOT, folder / 'eval.log', name, [lock])
    content = read_json(result)
    wanted = None if args.checkpoint.lower() == 'none' else sha8(args.checkpoint)
    if content['checkpoint']['sha8'] != wanted:
        raise InputError(
            f'{result} is of another checkpoint, {content["checkpoint"]["path"]}. Give another --work-dir, or delete '
            'this one.'
        )
    return content['metrics']


def measures_of(metrics: dict[str, float]) -> list[str]:
    """The measures that the table shows: means, or else the first three that are no counts."""
    means = [name for name in metrics if name.endswith('-Mean')]
    return means or [name for name, value in metrics.items() if isinstance(value, float)][:3]


def percent(metrics: dict[str, float], measure: str) -> float:
    """A measure in percent, as PCK is from the start."""
    return metrics[measure] if 'PCK' in measure else 100 * metrics[measure]


def table(rows: dict[str, dict[str, float]], notes: dict[str, str]) -> str:
    """Markdown, in percent, best first."""
    measures = measures_of(next(iter(rows.values())))
    lines = [f'| protocol | {" | ".join(measures)} | differs in |', '| --- ' * (len(measures) + 2) + '|']
    for name, row in sorted(rows.items(), key=lambda item: -item[1][measures[0]]):
        scores = ' | '.join(f'{percent(row, measure):.1f}' for measure in measures)
        lines.append(f'| `{name}` | {scores} | {notes[name]} |')
    return '\n'.join(lines)


def draw(rows: dict[str, dict[str, float]], path: Path) -> None:
    """A bar per protocol, best first."""
    measure = measures_of(next(iter(rows.values())))[0]
    ordered = sorted(rows.items(), key=lambda item: item[1][measure])
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(rows)))
    axes = figure.subplots()
    values = [percent(row, measure) for _, row in ordered]
    axes.barh([name for name, _ in ordered], values, color='C0', height=0.6)
    for position, value in enumerate(values):
        axes.text(value, position, f' {value:.1f}', va='center', fontsize=8)
    axes.set_xlabel(f'{measure}, percent')
    figure.tight_layout()
    write_figure(figure, path)


def write_files(folder: Path, rows: dict[str, dict[str, Any]], notes: dict[str, str]) -> None:
    """``table.md``, ``runs.csv`` and ``spread.png``."""
    write_atomically((table(rows, notes) + '\n').encode(), folder / 'table.md')
    write_csv(folder / 'runs.csv', [dict(protocol=name) | row for name, row in rows.items()])
    draw(rows, folder / 'spread.png')


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        if not (cfg.get('model') or {}).get('propagator'):
            raise InputError(f'{cfg.filename} has no model with a propagator; take one of configs/eval.')
        check_apart(args.work_dir, [cfg.test_dataloader.dataset.data_root])
        names = chosen(cfg, args.protocols)
        rows: dict[str, dict[str, float]] = {}
        notes = {name: differences(cfg, name) for name in names}
        with reserved(args.work_dir, '.protocol_spread') as lock:
            for number, name in enumerate(names, start=1):
                print(f'[{number}/{len(names)}] {name}', flush=True)
                rows[name] = evaluate(cfg, args, name, lock)
                write_files(args.work_dir, rows, notes)
    print(f'\n{table(rows, notes)}\n\nFiles: {args.work_dir}/')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
