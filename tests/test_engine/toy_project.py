"""A model and a dataset small enough to train in a blink, and a config that uses them."""

import math
import os
import time
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from stt_mm.registry import DATASETS, METRICS, MODELS

SIZE = 16

CONFIG = """
default_scope = 'stt_mm'
custom_imports = dict(imports=['test_engine.toy_project'])
model = dict(type='ToyModel', noise=0.1)
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(type='ToyDataset', length=10),
                        sampler=dict(type='TrainSampler'), collate_fn=dict(type='default_collate'))
train_cfg = dict(type='IterLoop', max_iters=12, val_interval=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-2))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=12)
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(type='ToyDataset', length=2),
                      sampler=dict(type='DefaultSampler', shuffle=True), collate_fn=dict(type='default_collate'))
val_cfg = dict()
val_evaluator = dict(type='ToyMetric')
test_dataloader = val_dataloader
test_cfg = dict()
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4, max_keep_ckpts=2),
                     logger=dict(type='LoggerHook', interval=4))
custom_hooks = [dict(type='StopSignalHook', sync_interval=2)]
env_cfg = dict(dist_cfg=dict(backend='nccl'))
sync_bn = 'torch'
auto_scale_lr = dict(base_batch_size=8, enable=False)
randomness = dict(seed=3)
"""


def write_config(folder: Path, text: str = '', name: str = 'toy.py') -> Path:
    """The toy config with some lines of its own appended."""
    path = folder / name
    path.write_text(CONFIG + text)
    return path


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """Predicts an image from its noisy self; the noise comes from the global generator, as dropout's does."""

    def __init__(self, noise: float, seconds: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.Conv2d(4, 3, 1)]
        self.backbone = nn.Sequential(*layers)
        self.noise = noise
        self.seconds = seconds

    def forward(self, inputs: torch.Tensor, mode: str = 'tensor') -> dict | list | torch.Tensor:
        time.sleep(self.seconds)
        out = self.backbone(inputs + self.noise * torch.rand_like(inputs))
        if mode == 'loss':
            return dict(loss=(out - inputs).pow(2).mean())
        return [out] if mode == 'predict' else out


@DATASETS.register_module(force=True)
class ToyDataset(Dataset):
    """Every sample is a function of its index and its draw."""

    def __init__(self, length: int, trace: str | None = None, max_frames: int | None = None) -> None:
        self.length = length
        self.trace = trace

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: int | tuple[int, int, int]) -> dict[str, torch.Tensor]:
        index, draw = key[:2] if isinstance(key, tuple) else (key, 0)
        if self.trace:
            with open(self.trace, 'a') as file:
                file.write(f'{os.getpid()} {index} {draw}\n')
        generator = torch.Generator().manual_seed(1000 * draw + index)
        return dict(inputs=torch.rand(3, SIZE, SIZE, generator=generator))


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Mean of the predictions; draws random numbers, as a careless metric may."""

    def __init__(self) -> None:
        super().__init__()

    def process(self, data_batch: dict, data_samples: list) -> None:
        torch.rand(7)
        self.results += [float(sample.mean()) for sample in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(score=math.fsum(results) / len(results))
