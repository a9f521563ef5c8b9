"""A small DetCo; run by torchrun, it trains a few steps on this rank's part of a batch and saves what it has."""

import sys

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.registry import MODEL_WRAPPERS, init_default_scope

from stt_mm.engine import finish_runtime, load_config, prepare_runtime
from stt_mm.registry import MODELS

STEPS, QUEUE = 3, 16


def build(depth=18, norm_eval=True, **arguments):
    """The shipped model with short queues and embeddings, from seed 0; BatchNorm's statistics fixed unless told."""
    init_default_scope('stt_mm')
    model = load_config(f'configs/pretrain/detco_r{depth}_in1k.py').model
    model.backbone.norm_eval = norm_eval
    model.neck.out_channels = 16
    model.update(dict(queue_len=QUEUE, **arguments))
    torch.manual_seed(0)
    built = MODELS.build(model)
    built.backbone.init_weights()
    return built.train()


def views(batch, step=0):
    """Two global views [batch, 3, 64, 64] and two mosaics of 32 x 32 patches [batch, 3, 96, 96]."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(batch, 3, side, side, generator=generator) for side in (64, 64, 96, 96)]


def train(model, batch=6):
    """SGD on the sum of the losses; returns the sums. Each rank takes its part of the batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    part = batch // get_world_size()
    sums = []
    for step in range(STEPS):
        mine = [view[part * get_rank() : part * (get_rank() + 1)] for view in views(batch, step)]
        loss = sum(model(mine, None, mode='loss').values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sums.append(loss.item())
    return sums


def main(path):
    """In the wrapper of the tools, which does not send buffers around: each rank has to keep its own queues right."""
    cfg = Config()
    prepare_runtime(cfg, 'pytorch')
    model = build()
    wrapped = MODEL_WRAPPERS.build(dict(cfg.model_wrapper_cfg, module=model))
    assert not wrapped.broadcast_buffers
    sums = train(wrapped)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    part = [view[3 * get_rank() : 3 * get_rank() + 3] for view in views(6, step=9)]
    with torch.no_grad():
        keys = model.keys(dict(zip(('global', 'local'), part[1::2], strict=True)))
        expected = {
            kind: model.embed(*model.encoder_k.module, view, kind)
            for kind, view in zip(('global', 'local'), part[1::2], strict=True)
        }
    torch.save(dict(state=state, sums=sums, keys=keys, expected=expected), f'{path}.{get_rank()}')
    del model, wrapped
    finish_runtime()


if __name__ == '__main__':
    main(sys.argv[1])
