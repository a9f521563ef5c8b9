"""Run device tests, benchmarks and a short training within a fixed time."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from stt_mm.engine.cli import one_line_errors, tool_parser
from stt_mm.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = 'tools/benchmark.py'
DEMO = 'configs/stt_r18_demo.py'
# Seconds that are kept for the evaluation of what was trained.
SCORING = 45
EPILOG = """examples:
  bash tools/gpu_check.sh                                   (on the first GPU)
  bash tools/gpu_check.sh --device cpu --minutes 60         (the same without a GPU)

The work directory gets gpu_check.json, the table gpu_check.md, and a log of each step."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EPILOG)
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'), help='what to check')
    parser.add_argument('--minutes', type=float, default=8, help='time for all of it')
    parser.add_argument('--training', type=float, default=180, metavar='SECONDS', help='time for the training')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/gpu_check'), metavar='DIR', help='where everything is written'
    )
    args = parser.parse_args(argv)
    if args.minutes <= 0 or args.training <= 0:
        parser.error('--minutes and --training must be positive')
    return args


class Check:
    """Runs the steps one after the other, each within what is left of the time."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.end = time.monotonic() + 60 * args.minutes
        self.steps: dict[str, dict] = {}
        self.env = {**os.environ, 'CUDA_VISIBLE_DEVICES': ''} if args.device == 'cpu' else dict(os.environ)

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def run(self, name: str, command: Sequence[str], seconds: float | None = None, stop: bool = False) -> bool:
        """Run a step, ended after so many seconds; ``stop``: that is how it is meant to end, and it is asked to."""
        log = self.args.work_dir / f'{name.replace(" ", "_")}.log'
        print(f'{name}: {" ".join(command)}', flush=True)
        start, limit = time.monotonic(), max(1, min(self.left, seconds or self.left))
        with open(log, 'wb') as file:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.env, stdout=file, stderr=subprocess.STDOUT
            )
            stopped = False
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                stopped = stop
                (process.terminate if stop else process.kill)()
                code = process.wait()
        good = code == 0 or stopped
        lines = log.read_text(errors='replace').strip().splitlines()
        self.steps[name] = dict(
            passed=good, seconds=round(time.monotonic() - start, 1), last=lines[-1] if lines else ''
        )
        print(f'  {"passed" if good else f"FAILED with {code}, see {log}"} in {self.steps[name]["seconds"]} s')
        return good

    def benchmark(self, name: str, *options: str) -> None:
        """A command of tools/benchmark.py, with its rows."""
        target = self.args.work_dir / f'{name.replace(" ", "_")}.json'
        command = [BENCHMARK, *options, '--seconds', '0.5', '--json', str(target)]
        if self.run(name, [*command, '--device', self.args.device]):
            self.steps[name]['rows'] = json.loads(target.read_text())['rows']

    def training(self) -> None:
        """Train the demo config as long as is left, and score what came of it."""
        work_dir = self.args.work_dir / 'training'
        options = ['train_cfg.max_iters=1000000', 'train_cfg.val_interval=1000000']
        options += ['default_hooks.checkpoint.interval=100000']
        command = ['tools/train.py', DEMO, '--work-dir', str(work_dir), '--overwrite', '--cfg-options', *options]
        # What an earlier check has trained is not scored.
        before = {path: path.stat().st_mtime_ns for path in work_dir.glob('iter_*.pth')}
        trained = self.run('training', command, min(self.args.training, self.left - SCORING), stop=True)
        files = [path for path in work_dir.glob('iter_*.pth') if path.stat().st_mtime_ns != before.get(path)]
        files.sort(key=lambda path: int(path.stem.split('_')[1]))
        if not (trained and files):
            self.steps['training']['passed'] = False
            return
        self.steps['training']['iterations'] = int(files[-1].stem.split('_')[1])
        result = self.args.work_dir / 'score.json'
        command = ['tools/test.py', DEMO, str(files[-1]), '--out', str(result), '--work-dir', str(work_dir / 'test')]
        if self.run('score', command):
            self.steps['score']['metrics'] = json.loads(result.read_text())['metrics']


def environment(device: str) -> dict:
    """What the figures depend on."""
    import torch

    if device == 'cuda' and not torch.cuda.is_available():
        raise InputError('PyTorch sees no GPU here. --device cpu tries the same script where there is none.')
    found = dict(python=platform.python_version(), torch=torch.__version__, device=device)
    if device == 'cuda':
        found.update(gpu=torch.cuda.get_device_name(), cuda=torch.version.cuda)
    return found


def table(steps: dict[str, dict], machine: dict) -> str:
    """All figures in Markdown."""
    lines = [', '.join(f'{key} {value}' for key, value in machine.items()), '', '| step | | seconds | result |']
    lines.append('| --- | --- | ---: | --- |')
    for name, step in steps.items():
        result = step['last'] if 'rows' not in step else ''
        if 'metrics' in step:
            result = ', '.join(f'{key} {value:.4f}' for key, value in step['metrics'].items() if 'Mean' in key)
        if 'iterations' in step:
            result = f'{step["iterations"]} iterations'
        lines.append(f'| {name} | {"passed" if step["passed"] else "FAILED"} | {step["seconds"]} | {result} |')
    for name, step in steps.items():
        heads: list[str] = []
        for row in step.get('rows', ()):
            if list(row) != heads:
                heads = list(row)
                lines += ['', f'{name}', '', f'| {" | ".join(heads)} |', f'| --- |{" ---: |" * (len(heads) - 1)}']
            cells = (f'{value:.4g}' if isinstance(value, float) else str(value) for value in row.values())
            lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with one_line_errors():
        machine = environment(args.device)
    args.work_dir = args.work_dir.resolve()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    check = Check(args)
    tests = 'gpu' if args.device == 'cuda' else 'devices'
    check.run('tests', ['-m', 'pytest', '-m', tests, '-p', 'no:cacheprovider', 'tests'])
    # The dense form at stride 4 takes a CPU minutes.
    strides = ('8', '4') if args.device == 'cuda' else ('8',)
    for options in ((), ('--amp',)):
        name = ' '.join(('propagate', *options))
        check.benchmark(name, 'propagate', '--labels', '4', '--strides', *strides, *options)
    check.benchmark('train', 'train')
    for options in (('--amp',), ('--compile',), ('--amp', '--compile')):
        check.benchmark(' '.join(('train', *options)), 'train', '--step-only', *options)
    check.benchmark('video', 'video', '--configs', *(f'eval/davis_r18_s{stride}' for stride in strides))
    check.benchmark('metric', 'metric')
    check.training()
    report = dict(machine=machine, steps=check.steps)
    (args.work_dir / 'gpu_check.json').write_text(json.dumps(report, indent=2) + '\n')
    text = table(check.steps, machine)
    (args.work_dir / 'gpu_check.md').write_text(text)
    print(f'\n{text}\n{args.work_dir / "gpu_check.json"}')
    sys.exit(not all(step['passed'] for step in check.steps.values()))


if __name__ == '__main__':
    main()
