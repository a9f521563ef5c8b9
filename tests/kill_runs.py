"""Kill trainings of the toy project at random moments, resume them, and compare them with one that nobody touched.

    PYTHONPATH=tests python tests/kill_runs.py        (20 SIGKILLs and 5 SIGINTs over 10 runs, about ten minutes)

Weights, optimizer, schedule, random states of all processes, history of losses and of validation scores, and best file
must be equal bit by bit, and no temporary file and no process may be left. Runs alternate between one and two
processes, with and without data workers, and with checkpoint intervals that divide the validation interval and that do
not. The network has BatchNorm and noise, and the validation draws random numbers as well.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from test_engine.toy_project import write_config
from test_engine.toy_runs import differences, state, tool

SETTINGS = """
model.update(norm=True, seconds=0.02)
train_cfg.update(max_iters=18, val_interval={val_interval})
train_dataloader.update(num_workers={workers})
val_dataloader.update(num_workers={workers})
val_dataloader['dataset'].update(length=6)
param_scheduler.update(T_max=18)
default_hooks['checkpoint'].update(interval=3, max_keep_ckpts=3, save_best='score', rule='greater')
"""
BEGIN = 'Checkpoints will be saved'
FORK = multiprocessing.get_context('fork')


def run_rank(config: Path, work_dir: Path, rank: int, processes: int, port: int) -> None:
    """One process of a training, in a process group of its own."""
    os.setpgid(0, 0)
    log = os.open(work_dir.with_suffix(f'.{rank}.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    launcher = []
    if processes > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(processes),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
        launcher = ['--launcher', 'pytorch']
    tool('train').main([str(config), '--work-dir', str(work_dir), '--resume', *launcher])


def start(config: Path, work_dir: Path, processes: int) -> list[multiprocessing.Process]:
    """A training, from the newest file of the work directory."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    ranks = [FORK.Process(target=run_rank, args=(config, work_dir, rank, processes, port)) for rank in range(processes)]
    for process in ranks:
        process.start()
    return ranks


def wait_for_training(ranks: list[multiprocessing.Process], work_dir: Path) -> float:
    """Until the first process has loaded everything; returns the time."""
    log = work_dir.with_suffix('.0.log')
    begun = log.read_text().count(BEGIN) if log.exists() else 0
    while ranks[0].is_alive() and (log.read_text().count(BEGIN) if log.exists() else 0) == begun:
        time.sleep(0.01)
    return time.monotonic()


def finish(ranks: list[multiprocessing.Process], seconds: float = 120) -> list[int]:
    """Exit codes; like a launcher, end the others when one has failed. Raises if something hangs or stays behind."""
    deadline = time.monotonic() + seconds
    while any(process.is_alive() for process in ranks):
        if any(process.exitcode for process in ranks):
            time.sleep(1)
            for process in ranks:
                process.terminate()
            time.sleep(3)
            for process in ranks:
                process.kill()
        if time.monotonic() > deadline:
            raise RuntimeError(f'A process hangs: {[process.exitcode for process in ranks]}')
        time.sleep(0.01)
    for process in ranks:
        while group_lives(process.pid):
            if time.monotonic() > deadline:
                raise RuntimeError('A data worker has outlived its trainer.')
            time.sleep(0.1)
    return [process.exitcode for process in ranks]


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def compare(first: Path, second: Path) -> list[str]:
    """What differs between two finished work directories."""
    best = [sorted(path.name for path in folder.glob('best_*')) for folder in (first, second)]
    found = [f'best files {best}'] if best[0] != best[1] else []
    for name in ['iter_18.pth', *(best[0] if not found else [])]:
        found += [f'{name}: {key}' for key in differences(state(first / name), state(second / name))]
    return found + [f'left over: {path.name}' for path in second.glob('.*')]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=10)
    parser.add_argument('--kills', type=int, default=20, help='SIGKILLs in all runs together')
    parser.add_argument('--interrupts', type=int, default=5, help='SIGINTs in all runs together')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    args = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(args.seed)
    signals = [signal.SIGKILL] * args.kills + [signal.SIGINT] * args.interrupts
    draw.shuffle(signals)
    straight: dict[tuple, tuple[Path, float]] = {}
    codes: Counter = Counter()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for run in range(args.runs):
            kind = (1 + run % 2, run // 2 % 2, 6 if run // 2 % 3 else 4)
            processes, workers, val_interval = kind
            text = SETTINGS.format(workers=workers, val_interval=val_interval)
            config = write_config(Path(folder), text, f'toy_{run}.py')
            if kind not in straight:
                whole = Path(folder, f'straight_{run}')
                ranks = start(config, whole, processes)
                began = wait_for_training(ranks, whole)
                if any(finish(ranks)):
                    raise RuntimeError(whole.with_suffix('.0.log').read_text()[-3000:])
                straight[kind] = whole, time.monotonic() - began
            whole, seconds = straight[kind]
            work_dir, sent = Path(folder, f'run_{run}'), []
            own = signals[run :: args.runs]
            share = seconds / max(len(own), 1)
            while own:
                ranks = start(config, work_dir, processes)
                wait_for_training(ranks, work_dir)
                time.sleep(draw.uniform(0, 1.5 * share))
                victims = ranks if own[0] == signal.SIGINT or draw.random() < 0.5 else [draw.choice(ranks)]
                alive = [process for process in victims if process.is_alive()]
                for process in alive:
                    # To the data workers as well, as a terminal does, or to the trainer alone.
                    (os.killpg if own[0] == signal.SIGINT or draw.random() < 0.5 else os.kill)(process.pid, own[0])
                codes.update(ended := finish(ranks))
                newest = max((int(path.stem[5:]) for path in work_dir.glob('iter_*.pth')), default=0)
                if any(ended):
                    sent.append(f'{own.pop(0).name} at {newest}')
                else:  # it was faster; only an unfinished training can be killed
                    shutil.rmtree(work_dir)
            code = finish(start(config, work_dir, processes))
            found = (
                compare(whole, work_dir)
                if not any(code)
                else [f'exit codes {code}: {work_dir.with_suffix(".0.log").read_text()[-3000:]}']
            )
            failed += bool(found)
            print(
                f'run {run}: {processes} process(es), {workers} worker(s), validation every {val_interval}: '
                f'{", ".join(sent) or "nothing sent"}: {"; ".join(found) or "equal"}',
                flush=True,
            )
    print(f'exit codes of the stopped processes: {dict(codes)}')
    print(f'{args.runs - failed} of {args.runs} runs are equal to those that nobody touched')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
