"""A hook that writes what a rank knows at the end of training, for comparisons between ranks."""

import os

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from stt_mm.registry import HOOKS


@HOOKS.register_module(force=True)
class RankDumpHook(Hook):
    """``<folder>/rank<r>.pt``: the state dict of the model, and the image paths of each iteration.

    Args:
        folder: where to write.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.paths: list[list[str]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.paths.append([sample.img_path for sample in data_batch['data_samples']])

    def after_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        os.makedirs(self.folder, exist_ok=True)
        torch.save(dict(state=model.state_dict(), paths=self.paths), f'{self.folder}/rank{runner.rank}.pt')
