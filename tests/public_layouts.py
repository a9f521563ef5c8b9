"""Files as public code writes them, with random weights: names, shapes and types from the layouts in ``tests/data``."""

from pathlib import Path

import torch

DATA = Path(__file__).parent / 'data'


def layout(name):
    """Name to (shape, type) of every tensor of a layout, in its order."""
    rows = (line.split('\t') for line in (DATA / f'layout_{name}.txt').read_text().splitlines() if line[0] != '#')
    return {key: ([int(side) for side in shape.strip('[]').split(',') if side], dtype) for key, shape, dtype in rows}


def drawn_weights(name, seed):
    """The weights that golden encoder files are made with: one draw per tensor, by its kind."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, (shape, dtype) in layout(name).items():
        if key.endswith('num_batches_tracked') or key.startswith('colorizer.'):
            weights[key] = torch.zeros(shape, dtype=getattr(torch, dtype))
            continue
        positive = key.endswith('running_var') or (key.endswith('weight') and len(shape) == 1)
        draw = (torch.rand if positive else torch.randn)(shape, generator=generator)
        if positive:
            weights[key] = 0.5 + draw
        elif key.endswith('pos_embed1'):
            weights[key] = 0.5 * draw
        elif len(shape) == 4:
            weights[key] = draw * (2 / (shape[0] * shape[2] * shape[3])) ** 0.5
        else:
            weights[key] = 0.1 * draw
    return weights
