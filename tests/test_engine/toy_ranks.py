"""Run by torchrun: train by a config, and write what each rank had at its validations and which threads are left."""

import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.engine import finish_runtime, prepare_runtime


class Buffers(Hook):
    """Those of the network at the first batch of each validation."""

    def __init__(self):
        self.seen = []

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self.seen.append([buffer.clone() for buffer in runner.model.buffers()])


def train(config, work_dir):
    cfg = Config.fromfile(config)
    cfg.launcher, cfg.work_dir = 'pytorch', work_dir
    prepare_runtime(cfg, 'pytorch')
    runner = Runner.from_cfg(cfg)
    buffers = Buffers()
    runner.register_hook(buffers)
    runner.train()
    return runner.rank, [*buffers.seen, list(runner.model.module.buffers())]


def main(config, work_dir):
    rank, buffers = train(config, work_dir)
    finish_runtime()
    tasks = Path('/proc/self/task')
    threads = [(tasks / task / 'comm').read_text().strip() for task in os.listdir(tasks)] if tasks.exists() else []
    torch.save(dict(buffers=buffers, threads=threads), Path(work_dir) / f'rank{rank}.pt')


if __name__ == '__main__':
    main(*sys.argv[1:])
