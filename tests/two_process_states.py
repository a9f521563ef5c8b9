"""Run by torchrun: train by a config, then each rank writes its state dict to ``rank<r>.pth`` in the work folder."""

import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from stt_mm.engine import finish_runtime, prepare_runtime


def main(config, work_dir):
    cfg = Config.fromfile(config)
    cfg.launcher, cfg.work_dir = 'pytorch', work_dir
    prepare_runtime(cfg, 'pytorch')
    runner = Runner.from_cfg(cfg)
    runner.train()
    torch.save(runner.model.module.state_dict(), Path(work_dir) / f'rank{runner.rank}.pth')
    del runner
    finish_runtime()


if __name__ == '__main__':
    main(*sys.argv[1:])
