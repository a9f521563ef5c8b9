"""Predictions with known errors, and a process that evaluates its share of them (processes import it by name)."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from mmengine.structures import BaseDataElement

from stt_mm.datasets import DAVIS
from stt_mm.evaluation.metrics import DAVISMetric
from stt_mm.utils import read_mask


def predicted(dataset, index, version=1):
    """A data sample as a model returns it; the prediction is the truth moved by 2 + index pixels."""
    sample = dataset[index]['data_samples']
    masks = np.stack([read_mask(path) if path else sample.given_masks[0] for path in sample.mask_paths])
    pred = BaseDataElement(metainfo=dict(sample.metainfo, protocol=dict(name='davis', version=version, topk=10)))
    pred.pred_masks = torch.from_numpy(np.roll(masks, 2 + index, axis=2))
    return pred


def run_rank(rank, root, folder):
    torch.distributed.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=2)
    metric = DAVISMetric(out_dir=f'{folder}/rank{rank}')
    dataset = DAVIS(root)
    # MMEngine's sampler repeats the first video, so that both ranks have two.
    for index in ((0, 2), (1, 0))[rank]:
        metric.process(None, [predicted(dataset, index).to_dict()])
    Path(folder, f'result{rank}.json').write_text(json.dumps(metric.evaluate(len(dataset))))
    torch.distributed.destroy_process_group()
