"""Estimate the diagonal Fisher information of a trained backbone.

Elastic weight consolidation needs it.
"""

import argparse
import glob
import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.model.averaged_model import BaseAveragedModel
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stt_mm import __version__
from stt_mm.datasets import TrainSampler, VideoDataset
from stt_mm.engine import load_config, values_of
from stt_mm.engine.cli import Progress, add_config_options, between, one_line_errors, tool_parser
from stt_mm.errors import InputError
from stt_mm.ops import add_squared
from stt_mm.registry import DATASETS, MODELS
from stt_mm.utils.checkpoint import (
    CheckpointError,
    checkpoint_bytes,
    read_checkpoint,
    remove_left_overs,
    sha8,
    write_atomically,
)
from stt_mm.utils.geometry import check_geometry
from stt_mm.utils.targets import check_file, make_folder
from stt_mm.utils.weights import check_finite, geometry_in

SECONDS_BETWEEN_SAVES = 60
EXAMPLES = """examples:
  python tools/estimate_fisher.py configs/pretrain/mocov2_r18_in1k.py CHECKPOINT --out pretrained/fisher_r18.pth
  torchrun --nproc-per-node 4 tools/estimate_fisher.py CONFIG CHECKPOINT --out FILE       (four processes)

The estimate is the squared gradient of one sample's loss, averaged over samples. Loss (without penalties) and training
data are CONFIG's; BatchNorm uses its running statistics, and key encoder and queue stay as in the checkpoint.

To continue after an interruption, run the same command again."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument('config', help='config that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='full checkpoint of that training')
    parser.add_argument('--out', required=True, metavar='FILE', help='file to write')
    parser.add_argument('--samples', type=between(1), default=10000, help='number of samples, over all processes')
    parser.add_argument('--seed', type=between(0, 2**32 - 1), default=0, help='seed that chooses the samples')
    parser.add_argument('--num-workers', type=between(0), default=2, help='data workers per process')
    add_config_options(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace FILE if it exists')
    return parser.parse_args(argv)


class Samples(Dataset):
    """Training samples by their position in the stream of one seed: the same in any number of processes and workers.

    Args:
        dataset: of clips or images of this toolbox, asked for (index, draw, seed); or any other, asked for an index
            while the global generators are seeded by the position.
        seed: of the stream.
        positions: positions in the stream, one per sample.
    """

    def __init__(self, dataset: Dataset, seed: int, positions: range) -> None:
        self.dataset = dataset
        stream = list(islice(TrainSampler(dataset, seed=seed), positions.stop))
        self.keys = [stream[position] for position in positions]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> dict:
        index, draw, seed = self.keys[number]
        if isinstance(self.dataset, VideoDataset):
            return self.dataset[index, draw, seed]
        for start in (random.seed, np.random.seed, torch.manual_seed):
            start(seed + draw)
        return self.dataset[index]


def build_model(cfg: Config, checkpoint: str) -> BaseModel:
    """The trained model without penalties, in eval mode, with a key encoder that stays where it is."""
    model_cfg = cfg.model
    model_cfg.pop('penalty', None)
    model = MODELS.build(model_cfg)
    if getattr(model, 'teacher', None) is not None:
        model.teacher.init_weights()
    content = read_checkpoint(checkpoint)
    weights = content.get('state_dict', content) if isinstance(content, dict) else {}
    check_geometry(checkpoint, geometry_in(content), getattr(model, 'geometry', None))
    try:
        found = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f'{checkpoint} does not fit {cfg.filename}: {" ".join(str(error).split())}') from error
    if found.missing_keys:
        raise CheckpointError(
            f'{checkpoint} lacks {len(found.missing_keys)} weights of the model of {cfg.filename}: '
            f'{", ".join(found.missing_keys[:3])}, ... Name the full checkpoint that the training '
            'with this config wrote.'
        )
    check_finite(model.state_dict(), checkpoint, 'The training diverged or the file is damaged; take an earlier one.')
    for module in model.modules():
        if isinstance(module, BaseAveragedModel):
            # Even with a momentum of 0 it would take over the running statistics of the query encoder.
            module.update_parameters = lambda _: None
    # One draw of the dropped channel per sample, whichever process has it.
    if hasattr(model.data_preprocessor, 'rank_shared'):
        model.data_preprocessor.rank_shared = True
    return model.eval().to(torch.device('cuda') if torch.cuda.is_available() else 'cpu')


def gradient_function(model: BaseModel, seed: int) -> Callable[[dict, int], dict[str, Tensor | None]]:
    """A function from a batch and its position to the gradients of its loss, which leaves the model as it was."""
    parameters = dict(model.backbone.named_parameters())
    trained = {name: value for name, value in parameters.items() if value.requires_grad}
    buffers = {name: (value, value.clone()) for name, value in model.named_buffers()}
    info = MessageHub.get_current_instance()
    info.update_info('seed', seed)

    def gradients(batch: dict, position: int) -> dict[str, Tensor | None]:
        info.update_info('iter', position)
        versions = {name: value._version for name, (value, _) in buffers.items()}
        losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
        total, _ = model.parse_losses(losses)
        found = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        finite = [value.isfinite().all() for value in (total, *found) if value is not None]
        if not torch.stack(finite).all():
            raise InputError(
                f'The loss of sample {position}, {total.item():.6g}, has a gradient that is infinite or '
                'not a number: the Fisher information would be too. Look at the data and at the weights '
                'of the losses.'
            )
        with torch.no_grad():
            for name, (value, kept) in buffers.items():
                if value._version != versions[name]:
                    value.copy_(kept)
        return dict.fromkeys(parameters) | dict(zip(trained, found, strict=True))

    return gradients


class Partial:
    """What one process has summed up so far, in a file that is never half written; one of other settings is refused."""

    def __init__(self, path: Path, settings: dict, shapes: dict[str, torch.Size]) -> None:
        self.path = path
        self.settings = settings
        self.done = 0
        self.values = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        remove_left_overs(path.parent, glob.escape(path.name))
        if path.exists():
            content = read_checkpoint(path)
            begun = content.get('settings') if isinstance(content, dict) else None
            if begun != settings:
                differing = [key for key in settings if (begun or {}).get(key) != settings[key]]
                raise InputError(
                    f'{path} is no unfinished estimate, or one of other settings ({", ".join(differing)}). Remove it '
                    'to begin anew, or name another --out.'
                )
            self.done, self.values = content['done'], content['values']
        self.saved = time.monotonic()

    def save(self, interval: float = 0.0) -> None:
        """Write the file if the last time is at least ``interval`` seconds ago."""
        if time.monotonic() - self.saved >= interval:
            content = dict(
                settings=self.settings,
                done=self.done,
                values={name: value.cpu() for name, value in self.values.items()},
            )
            write_atomically(checkpoint_bytes(content), self.path)
            self.saved = time.monotonic()


def settings_of(args: argparse.Namespace, cfg: Config, world_size: int) -> dict:
    """All that the sums of a process depend on."""
    text = json.dumps([cfg.model.to_dict(), cfg.train_dataloader.dataset.to_dict()], sort_keys=True, default=str)
    return dict(
        config=Path(cfg.filename).name,
        config_sha8=hashlib.sha256(text.encode()).hexdigest()[:8],
        checkpoint_sha8=sha8(args.checkpoint),
        samples=args.samples,
        seed=args.seed,
        processes=world_size,
    )


def accumulate(
    args: argparse.Namespace, cfg: Config, model: BaseModel, partial: Partial, rank: int, world_size: int
) -> None:
    """Go through the samples of this process that have not been summed up yet."""
    device = next(model.backbone.parameters()).device
    partial.values = {name: value.to(device) for name, value in partial.values.items()}
    gradients = gradient_function(model, args.seed)
    positions = range(rank, args.samples, world_size)
    rest = Samples(DATASETS.build(cfg.train_dataloader.dataset), args.seed, positions[partial.done :])
    loader = DataLoader(rest, batch_size=1, num_workers=args.num_workers, collate_fn=default_collate)
    bar = Progress(len(positions), done=partial.done) if rank == 0 else None
    for batch in loader:
        add_squared(partial.values, gradients(batch, positions[partial.done]))
        partial.done += 1
        partial.save(SECONDS_BETWEEN_SAVES)
        if bar is not None:
            bar.update()
    partial.save()


def reduce_sums(values: dict[str, Tensor], world_size: int) -> Iterator[tuple[str, Tensor]]:
    """The sum over all processes, name by name. They meet here only: until now each has worked alone."""
    if world_size > 1:
        dist.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
    for name, value in values.items():
        if world_size > 1:
            dist.all_reduce(value)
        yield name, value


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    rank, world_size = (int(os.environ.get(name, default)) for name, default in (('RANK', 0), ('WORLD_SIZE', 1)))
    with one_line_errors():
        out = Path(args.out)
        partial_path = out.with_name(f'{out.name}.part{rank}')
        if world_size > args.samples:
            raise InputError(f'{world_size} processes cannot share {args.samples} samples: raise --samples.')
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
        cfg = load_config(args.config, args.cfg_options)
        if cfg.get('model') is None or cfg.get('train_dataloader') is None:
            raise InputError(f'{cfg.filename} is no training config: it has no model or no train_dataloader.')
        sources = [args.config, args.checkpoint, *values_of(cfg.model, 'checkpoint')]
        sources += values_of(cfg.train_dataloader, 'data_root', 'ann_file', 'video_list')
        check_file(partial_path, sources)
        check_file(out, sources, args.overwrite)
        make_folder(out.parent)
        init_default_scope(cfg.get('default_scope', 'stt_mm'))
        settings = settings_of(args, cfg, world_size)
        model = build_model(cfg, args.checkpoint)
        shapes = {name: value.shape for name, value in model.backbone.named_parameters()}
        partial = Partial(partial_path, settings, shapes)
        accumulate(args, cfg, model, partial, rank, world_size)
        fisher = {name: value.cpu() / args.samples for name, value in reduce_sums(partial.values, world_size)}
        if rank == 0:
            write(out, fisher, model, settings)
        if world_size > 1:
            dist.barrier()
            dist.destroy_process_group()
        partial.path.unlink()


def write(out: Path, fisher: dict[str, Tensor], model: BaseModel, settings: dict) -> None:
    """Fisher information and reference weights, float32, and how they came about."""
    reference = {name: value.detach().cpu() for name, value in model.backbone.named_parameters()}
    content = dict(
        fisher={name: value.float() for name, value in fisher.items()},
        reference=reference,
        meta=dict(settings, stt_mm_version=__version__),
    )
    write_atomically(checkpoint_bytes(content), out)
    total = sum(float(value.sum()) for value in fisher.values())
    unused = sum(not bool(value.any()) for value in fisher.values())
    print(
        f'wrote {out} ({out.stat().st_size / 2**20:.1f} MiB): {len(fisher)} parameters, trace {total:.4g}, '
        f'{unused} without information'
    )


if __name__ == '__main__':
    main()
