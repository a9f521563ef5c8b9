"""What run_ablation.py found, as a table, as files and as a picture."""

import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from stt_mm.evaluation.metrics.tables import write_csv
from stt_mm.utils.checkpoint import write_atomically
from stt_mm.visualization import write_figure

MEASURES = ('J&F-Mean', 'J-Mean', 'F-Mean')
ROW = re.compile(r'(?:Paper )?Table \d+, rows? [\w, ]+: (.+?)\s*\(J&F \d')
SCORE = re.compile(r'J&F (\d+\.\d)')


@dataclass
class Row:
    """One line of the table.

    Args:
        name: stem of the config, the name of its folder.
        label: what the line is about.
        paper: J&F in percent that the paper has for it, if it has.
        runs: metrics of DAVIS (0 to 1) by seed.
    """

    name: str
    label: str
    paper: float | None = None
    runs: dict[int, dict[str, float]] = field(default_factory=dict)

    def percent(self, measure: str) -> list[float]:
        """A measure of every seed, in percent, in the order of the seeds."""
        return [100 * self.runs[seed][measure] for seed in sorted(self.runs)]

    def steps(self, above: 'Row') -> list[float]:
        """J&F of every seed less that of the same seed in another line."""
        return [
            100 * (self.runs[seed]['J&F-Mean'] - above.runs[seed]['J&F-Mean'])
            for seed in sorted(self.runs.keys() & above.runs.keys())
        ]


def described(config: Path) -> Row:
    """The line of a config, from the comment at its head: what follows "Table 1, row 2:", and the paper's J&F.

    Without such words the label is the beginning of the comment, up to its first colon, full stop or bracket.
    """
    lines = config.read_text(encoding='utf-8').splitlines()
    head = []
    for line in lines:
        if not line.startswith('#'):
            break
        head.append(line.lstrip('# '))
    text = ' '.join(head)
    label, score = ROW.match(text), SCORE.search(text)
    beginning = re.split('[:.(]', text)[0].strip() or config.stem
    return Row(config.stem, label.group(1) if label else beginning, float(score.group(1)) if score else None)


def spread(values: list[float], signed: bool = False) -> str:
    """Mean and standard deviation of a sample; of a single value there is no deviation."""
    sign = '+' if signed else ''
    mean = f'{statistics.fmean(values):{sign}.1f}'
    return f'{mean} ± {statistics.stdev(values):.1f}' if len(values) > 1 else mean


def table(rows: list[Row]) -> str:
    """Markdown, in percent, one line per row in the given order.

    The column "step" is the difference to the line above, formed for each seed, so that what two lines of one seed
    share (the first weights, the order of the clips) drops out of it.
    """
    lines = ['| # | configuration | config | J&F | J | F | step | paper, J&F |', '| --- ' * 8 + '|']
    for number, row in enumerate(rows, start=1):
        scores = ' | '.join(spread(row.percent(measure)) for measure in MEASURES)
        steps = row.steps(rows[number - 2]) if number > 1 else []
        lines.append(
            f'| {number} | {row.label} | `{row.name}` | {scores} | '
            f'{spread(steps, signed=True) if steps else ""} | {"" if row.paper is None else row.paper} |'
        )
    return '\n'.join(lines)


def write_files(folder: Path, rows: list[Row]) -> None:
    """``table.md``, ``runs.csv`` (a line per run) and ``ablation.png``."""
    write_atomically((table(rows) + '\n').encode(), folder / 'table.md')
    runs = [(row.name, seed, run) for row in rows for seed, run in sorted(row.runs.items())]
    lines = [dict(config=name, seed=seed) | {measure: run[measure] for measure in MEASURES} for name, seed, run in runs]
    write_csv(folder / 'runs.csv', lines)
    draw(rows, folder / 'ablation.png')


def draw(rows: list[Row], path: Path) -> None:
    """A dot per run, mean and standard deviation of each row beside them."""
    figure = Figure(figsize=(8, 1.2 + 0.55 * len(rows)))
    axes = figure.subplots()
    for position, row in enumerate(rows):
        values = row.percent('J&F-Mean')
        axes.plot(values, [position - 0.12] * len(values), 'o', color='0.6', markersize=4)
        axes.errorbar(
            statistics.fmean(values),
            position + 0.12,
            xerr=statistics.stdev(values) if len(values) > 1 else None,
            fmt='D',
            color='C0',
            capsize=4,
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel('J&F, percent')
    axes.grid(axis='x', alpha=0.4)
    figure.tight_layout()
    write_figure(figure, path)
