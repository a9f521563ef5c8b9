"""MMEngine's runner, which keeps the configs that it finds and finds the functions that make batches."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine import runner as mmengine_runner
from mmengine.device import get_device
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader

from stt_mm.engine.compat import bare
from stt_mm.errors import library_errors
from stt_mm.registry import FUNCTIONS, LIBRARIES, RUNNERS, author, find_component


def _collate(function: Callable[[list], Any], samples: list) -> Any:
    with library_errors(
        'The samples cannot be made a batch. A training pipeline ends with a step that packs tensors, '
        'such as PackClip, and its collate_fn is default_collate'
    ):
        return function(samples)


@RUNNERS.register_module()
class Runner(mmengine_runner.Runner):
    """Writes the merged config into the work directory as ``<work_dir>/<name of the config>`` if none is there yet.

    So a test leaves that of the training, and a training that cannot start that of the one before. A copy goes to
    ``<time>/vis_data/config.py`` in any case.
    """

    def dump_config(self) -> None:
        """Called by MMEngine when the runner is built; only rank 0 writes."""
        if self.cfg.filename is None or not Path(self.work_dir, Path(self.cfg.filename).name).exists():
            super().dump_config()

    def write_config(self) -> None:
        """Replace the config that is there, unless it is the very one that was read; only rank 0 writes."""
        source = self.cfg.filename
        target = None if source is None else Path(self.work_dir, Path(source).name)
        if target is None or not (target.exists() and target.samefile(source)):
            super().dump_config()

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Called by MMEngine; DDP refuses a model that has nothing to train, which needs no agreement of processes."""
        if self.distributed and not any(parameter.requires_grad for parameter in model.parameters()):
            return model.to(get_device())
        return super().wrap_model(model_wrapper_cfg, model)

    def _maybe_compile(self, target: str) -> None:
        """Called by MMEngine before training; what it would compile, the whole step, falls apart into many graphs.

        The loss of the model, from prepared inputs, is one; a model without ``loss`` computes it in ``forward``. What
        is drawn and logged, and the optimizer, stay outside.
        """
        options = self.cfg.get('compile')
        if options is None or options is False:
            return
        model = bare(self.model)
        name = 'loss' if hasattr(model, 'loss') else 'forward'
        setattr(model, name, torch.compile(getattr(model, name), **({} if options is True else options)))
        print_log('The loss is compiled in the first iterations, which takes a while.', logger='current')

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """MMEngine's loader, whose ``collate_fn`` may be a function of any scope."""
        settings = dataloader.get('collate_fn') if isinstance(dataloader, dict) else None
        if isinstance(settings, dict):
            settings = dict(settings)
            function = find_component(FUNCTIONS, settings.pop('type'))
            collate = partial(function, **settings)
            dataloader = dict(
                dataloader, collate_fn=partial(_collate, collate) if author(function) in LIBRARIES else collate
            )
        return mmengine_runner.Runner.build_dataloader(dataloader, seed, diff_rank_seed)
