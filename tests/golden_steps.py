"""Steps of label propagation with the outcomes of an independent implementation."""

import json

import numpy as np
import torch
import torch.nn.functional as F

from stt_mm.ops import Vote, Window

STEPS = ('square_r12_s8like', 'square_odd_range7', 'no_l2', 'circle_r5', 'no_window', 'square_first_unmasked')


def read_step(folder, name, device='cpu'):
    """Arguments of `propagate`, and what it is to give."""
    golden = np.load(folder / f'propagate_{name}.npz')
    params = json.loads(str(golden['params']))
    query, keys, labels = (torch.from_numpy(golden[field]).to(device) for field in ('query', 'keys', 'labels'))
    if params['l2_normalise']:
        query, keys = F.normalize(query, dim=0), F.normalize(keys, dim=1)
    diameter, circle = params['neighbor_range'], params['shape'] == 'circle'
    window = None if diameter is None else Window(params['shape'], diameter // 2, strict=circle)
    free = params['unmasked_leading_frames']
    copies = dict(
        copies=[int(t >= free) for t in range(len(keys))], global_copies=[int(t < free) for t in range(len(keys))]
    )
    vote = Vote('topk', params['temperature'], params['topk'])
    return dict(query=query, keys=keys, labels=labels, window=window, vote=vote, **copies), golden['out']
