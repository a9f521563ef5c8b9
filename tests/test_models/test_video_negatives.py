"""What fills the bank of negatives: which frame of a clip, which of its places, and whose draws."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from test_models.test_pair import liir, samples
from test_models.test_stt import clip

from stt_mm.models import VideoNegatives, video_negatives

init_default_scope('stt_mm')
# Pictures of 16 x 16 pixels have maps of 4 x 4 cells.
SIZE, CELLS = 16, 16


def differences(points, maps):
    """Largest difference ``[F, P, H * W]`` of points ``[F, P, C]`` from each cell of the maps ``[F, C, H, W]``."""
    return (points[:, :, None] - maps.flatten(2).mT[:, None]).abs().amax(-1)


def remembered_places(model, frames, iteration, monkeypatch):
    """Numbers ``[F, P]`` of the cells of the moving average's maps whose points came into the bank."""
    monkeypatch.setitem(MessageHub.get_current_instance().runtime_info, 'iter', iteration)
    maps, negatives = [], model.negatives
    hook = negatives.encoder.register_forward_hook(lambda module, args, out: maps.extend(out))
    start = negatives.bank.pointer.item()
    negatives.remember(model.backbone, frames, torch.arange(len(frames)))
    hook.remove()
    equal = differences(negatives.bank.queue[start : start + len(frames)], maps[0]) == 0
    assert (equal.sum(-1) == 1).all(), 'a point is one cell of the map of its frame'
    return equal.int().argmax(-1)


def test_the_reference_of_a_clip_comes_in_and_not_its_target():
    model = liir(negatives=dict(modulation=None))
    data = model.data_preprocessor(dict(clip(2, 64), data_samples=samples(3, 8)), training=True)
    model(**data, mode='loss')
    points, student = model.negatives.bank.queue[:2], data['inputs']['student']
    with torch.no_grad():
        reference, target = (
            differences(points, model.negatives.encoder(student[:, side])[0]).amin(-1) for side in (0, 1)
        )
    assert (reference < 1e-5).all()
    assert (target > 1e-3).all()


def test_each_place_of_a_frame_is_as_likely_to_be_kept_as_any_other(monkeypatch):
    """4 of 16 cells of 60 frames: each one is kept 15 times, with a standard deviation of 3.4."""
    model = liir(negatives=dict(incoming=None)).eval()
    frames = torch.rand(6, 3, SIZE, SIZE)
    places = torch.stack([remembered_places(model, frames, iteration, monkeypatch) for iteration in range(10)])
    assert all(len(set(row.tolist())) == 4 for row in places.flatten(0, 1))
    sets = [[frozenset(row.tolist()) for row in step] for step in places]
    assert all(len(set(step)) > 1 for step in sets), 'frames of a step have places of their own'
    assert all(len(set(frame)) > 1 for frame in zip(*sets, strict=True)), 'and so have steps'
    counts = places.flatten().bincount(minlength=CELLS)
    assert len(counts) == CELLS
    assert (counts.sub(15).abs() <= 12).all()


@pytest.mark.parametrize('purpose', ['draw', 'remember'])
def test_draws_are_those_of_a_seed_and_a_rank(purpose, monkeypatch):
    """Processes draw apart, and each of them draws again what it drew."""
    model, frames = liir(negatives=dict(modulation=None, incoming=None)).eval(), torch.rand(6, 3, SIZE, SIZE)
    numbered = VideoNegatives(channels=1, frames=50, points=4, stored=16)
    numbered.bank.enqueue(torch.arange(16.0)[:, None].expand(50, 16, 1).contiguous(), torch.arange(50))
    info = MessageHub.get_current_instance().runtime_info

    def drawn(seed, rank):
        monkeypatch.setitem(info, 'seed', seed)
        monkeypatch.setattr(video_negatives, 'get_rank', lambda: rank)
        if purpose == 'remember':
            return remembered_places(model, frames, 7, monkeypatch).flatten().tolist()
        monkeypatch.setitem(info, 'iter', 7)
        return numbered.draw(torch.tensor([99])).points.flatten().tolist()

    sources = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    found = [drawn(*source) for source in sources]
    assert found == [drawn(*source) for source in sources]
    assert len(set(map(tuple, found))) == len(sources)
