"""Stage 1 at a size for tests: small trees, small views, the shipped configs otherwise as they are."""

import time
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from tiny_data import make_davis, texture, write_image

from stt_mm.engine import load_config

CONFIGS = Path(__file__).parents[1] / 'configs'


def make_images(root, num_classes=2, num_images=6, size=(48, 64)):
    """``<root>/<wnid>/<wnid>_<number>.jpg``; returns ``root``."""
    for number in range(num_classes):
        wnid = f'n{number:08d}'
        for image in range(num_images):
            write_image(Path(root, wnid, f'{wnid}_{image}.jpg'), texture(size, num_images * number + image))
    return root


def make_trees(root):
    """Images and a DAVIS-shaped tree; returns the overrides that name them."""
    make_images(Path(root, 'ImageNet', 'train'))
    make_davis(Path(root, 'DAVIS'))
    return {
        'train_dataloader.dataset.data_root': f'{root}/ImageNet/train',
        'val_dataloader.dataset.data_root': f'{root}/DAVIS',
    }


SMALL = {
    'train_dataloader.batch_size': 4,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_cfg.model.propagator.protocol.short_side': 48,
    'train_cfg.max_iters': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': -1,
    'default_hooks.checkpoint.save_best': None,
    'default_hooks.logger.interval': 1,
}


def shrink_views(node, side=32):
    """Every crop of 224 becomes one of ``side``; those of other sizes, such as DetCo's 255, keep theirs."""
    if isinstance(node, dict):
        if node.get('scale') == 224:
            node['scale'] = side
        for item in node.values():
            shrink_views(item, side)
    elif isinstance(node, list):
        for item in node:
            shrink_views(item, side)


def small_config(name, roots, **overrides) -> Config:
    """A shipped config of stage 1 on small trees, with 64 keys in each queue."""
    cfg = load_config(CONFIGS / 'pretrain' / f'{name}.py', {**SMALL, **roots, **overrides})
    if 'queue_len' in cfg.model:
        cfg.model.queue_len = 64
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    shrink_views(cfg.train_dataloader.dataset.pipeline)
    return cfg


def write_only(runner, iterations):
    """Make checkpoints after these iterations alone."""
    hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    hook.save_last = False
    hook.every_n_train_iters = lambda runner, n, start=0: runner.iter + 1 in iterations


def run_config(cfg, work_dir, resume=None, written=None) -> Runner:
    """Train in this process; returns the runner.

    Of its checkpoints only those after the iterations ``written`` are made; ``None``: all that the config asks for.
    """
    cfg = Config(cfg.to_dict())
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'run_{time.monotonic_ns()}'
    if resume is not None:
        cfg.resume, cfg.load_from = True, str(resume)
    runner = Runner.from_cfg(cfg)
    if written is not None:
        write_only(runner, written)
    runner.train()
    return runner
