"""Run by torchrun: gradients of STT averaged over two ranks, written by rank 0."""

import sys

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.nn.parallel import DistributedDataParallel

from stt_mm.registry import MODELS
from stt_mm.utils.config_path import config_path


def build():
    """The full method with weights from seed 0, BatchNorm in eval, per-image selection, one draw for all ranks."""
    init_default_scope('stt_mm')
    cfg = Config.fromfile(config_path('stt_r18_ytv'))
    cfg.merge_from_dict(
        {
            'model.backbone.init_cfg': None,
            'model.teacher.backbone.init_cfg': None,
            'model.local_head.selection': 'per_image',
            'model.data_preprocessor.rank_shared': True,
        }
    )
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for name, parameter in model.backbone.named_parameters():
        if 'bn2.weight' in name:
            torch.nn.init.constant_(parameter, 0.5)
    model.backbone.eval()
    return model


def batch():
    """uint8 [4, 2, 3, 128, 128]."""
    return torch.randint(0, 256, (4, 2, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def gradients(model, clips):
    """Name to gradient after one backward pass."""
    inner = getattr(model, 'module', model)
    losses = model(**inner.data_preprocessor(dict(inputs=clips), training=True), mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    return {name: parameter.grad for name, parameter in inner.named_parameters()}


def main(path):
    dist.init_process_group('gloo')
    rank = dist.get_rank()
    found = gradients(DistributedDataParallel(build()), batch()[2 * rank : 2 * rank + 2])
    if rank == 0:
        torch.save(found, path)
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
