"""Train in two processes, and what each of them ends with; this file is also what they run."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from pretrain_runs import write_only

from stt_mm.engine import finish_runtime, prepare_runtime


def states_of_two(cfg, folder):
    """The state dict of either rank after a training by a config, which writes no checkpoint."""
    cfg = Config(cfg.to_dict())
    cfg.work_dir = str(folder / 'work')
    cfg.dump(folder / 'config.py')
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2'),
            *map(str, (__file__, folder / 'config.py')),
        ],
        env=dict(os.environ, PYTHONPATH=str(Path(__file__).parent), OMP_NUM_THREADS='1'),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return [torch.load(folder / 'work' / f'rank{rank}.pth', weights_only=True) for rank in (0, 1)]


def main(config):
    cfg = Config.fromfile(config)
    cfg.launcher = 'pytorch'
    prepare_runtime(cfg, 'pytorch')
    runner = Runner.from_cfg(cfg)
    write_only(runner, [])
    runner.train()
    torch.save(runner.model.module.state_dict(), Path(cfg.work_dir) / f'rank{runner.rank}.pth')
    del runner
    finish_runtime()


if __name__ == '__main__':
    main(*sys.argv[1:])
