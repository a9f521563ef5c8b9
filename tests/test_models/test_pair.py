"""Rebuilding one frame of a pair from the other: MAST and LIIR."""

import json
import math

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement
from test_models.test_stt import build, clip, small
from torch.testing import assert_close

from stt_mm.models import VideoNegatives
from stt_mm.ops import local_affinity, reconstruct
from stt_mm.ops.compactness import ONE_CELL
from stt_mm.registry import MODELS

init_default_scope('stt_mm')
UNOFFICIAL = dict(sigma=ONE_CELL, normalised=False, threshold=0.5)


def read(path):
    golden = np.load(path)
    return {name: torch.from_numpy(np.asarray(golden[name])) for name in golden.files if name != 'params'}, json.loads(
        str(golden['params'])
    )


def pair_losses(model, stage, golden):
    """Losses of a golden file, and its features of (reference, target)."""
    lab = golden['lab'].double() * golden['lab_scale'].double()
    features = [golden[f'features_{name}'].double().requires_grad_() for name in ('reference', 'target')]
    losses = model.head_losses(
        {stage: features[1]}, {stage: features[0]}, lab[:, 0], lab[:, 1], golden['dropped_channel'].view(1)
    )
    return losses, features


def norms(loss, features):
    grads = torch.autograd.grad(loss, features, retain_graph=True)
    return torch.stack([grad.norm() for grad in grads]), grads


def samples(*videos):
    return [BaseDataElement(metainfo=dict(sample_idx=video)) for video in videos]


def step(model, iteration, videos, size=64):
    """Losses of one step on clips of these videos, each a picture of its own."""
    MessageHub.get_current_instance().update_info('iter', iteration)
    torch.manual_seed(iteration)
    batch = dict(clip(len(videos), size), data_samples=samples(*videos))
    return model(**model.data_preprocessor(batch, training=True), mode='loss')


def liir(**changes):
    """The second stage with a bank of 6 frames, so warm that random features do not find each other for sure."""
    changes.setdefault('temperature', 1e4)
    changes['negatives'] = dict(frames=6, points=2, stored=4) | changes.get('negatives', {})
    model = build('liir_r18_ytv', **changes)
    for name, parameter in model.backbone.named_parameters():
        if 'bn2.weight' in name:
            torch.nn.init.ones_(parameter)
    return model.train()


def test_mast_loses_what_the_released_code_does(data):
    golden, params = read(data / 'mast_liir' / 'mast_train_a.npz')
    model = MODELS.build(small('mast_r18_ytv', temperature=1.0, radii=dict(projection=params['radius'])).model)
    losses, features = pair_losses(model, 'projection', golden)
    assert set(losses) == {'loss_recon_projection'}
    found, grads = norms(losses['loss_recon_projection'], features)
    exact = dict(rtol=4e-7, atol=0)
    assert_close(losses['loss_recon_projection'], golden['loss'], **exact)
    assert_close(found, torch.stack([golden['grad_norm_reference'], golden['grad_norm_target']]), **exact)
    for grad, name in zip(grads, ('grad_reference', 'grad_target'), strict=True):
        assert_close(grad, golden[name].double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize('name', ['liir_u_train_a', 'liir_u_train_b'])
def test_the_unofficial_liir_is_an_option_away(name, data):
    golden, params = read(data / 'mast_liir' / f'{name}.npz')
    changes = dict(temperature=1.0, border='zero', radii=dict(res5=params['radius']), compactness_head=UNOFFICIAL)
    cfg = small('liir_r18_ytv', **changes)
    cfg.model.negatives = None
    losses, features = pair_losses(MODELS.build(cfg.model), 'res5', golden)
    assert set(losses) == {'loss_recon_res5', 'loss_compact'}
    for loss, part in (
        (losses['loss_recon_res5'], 'reconstruction'),
        (losses['loss_compact'], 'compactness'),
        (sum(losses.values()), 'total'),
    ):
        assert_close(loss, golden[f'loss_{part}'], rtol=4e-7, atol=0)
        assert_close(norms(loss, features)[0], golden[f'grad_norm_{part}'], rtol=1e-6, atol=0)


@pytest.mark.parametrize('name', ['a', 'b'])
def test_affinities_are_pulled_together_as_in_the_unofficial_code(name, data):
    golden, params = read(data / 'mast_liir' / f'liir_u_compactness_{name}.npz')
    head = MODELS.build(dict(small('liir_r18_ytv').model.compactness_head, **UNOFFICIAL))
    affinity = golden['affinity'].requires_grad_()
    grid = tuple(affinity.shape[2:])
    loss = head.loss(affinity.flatten(2).mT, grid, params['radius'], 'zero')['loss_compact']
    assert_close(loss, golden['loss_compactness'], rtol=4e-7, atol=0)
    assert_close(norms(loss, [affinity])[0][0], golden['grad_norm_affinity'], rtol=4e-7, atol=0)


@pytest.mark.parametrize('name', ['a', 'window', 'all_masked'])
def test_the_gate_is_the_share_beside_all_points_of_other_videos(name, data):
    golden, params = read(data / 'mast_liir' / f'liir_gate_{name}.npz')
    frames, points, channels = golden['negatives'].shape
    negatives = dict(frames=frames + 2, channels=channels, points=points, stored=points)
    cfg = small('liir_r18_ytv', temperature=1 / params['scale'], negatives=negatives, radii=dict(res5=params['radius']))
    model = MODELS.build(cfg.model)
    bank = model.negatives.bank.double()
    bank.enqueue(golden['negatives'], golden['negative_video'].long())
    drawn = model.negatives.draw(golden['batch_video'].long())
    query, reference = (golden[part].requires_grad_() for part in ('query', 'reference'))
    affinity, lse = model._matches(dict(res5=query), dict(res5=reference))['res5']
    gate = model._gate(query, lse, drawn)
    exact = dict(rtol=0, atol=1e-10)
    assert_close(lse, golden['log_sum_exp_intra'].flatten(1), **exact)
    assert_close(gate, golden['gate'].flatten(1), **exact)
    rebuilt = reconstruct(affinity, golden['colours'], params['radius'] is None)
    rebuilt = rebuilt * gate.view(-1, 1, *query.shape[2:])
    assert_close(rebuilt, golden['reconstruction'], **exact)
    grads = torch.autograd.grad((rebuilt * golden['probe']).sum(), (query, reference))
    for grad, part in zip(grads, ('grad_query', 'grad_reference'), strict=True):
        assert_close(grad, golden[part], **exact)
    assert (name == 'all_masked') is bool((gate == 1).all())
    if params['radius'] is None:
        assert_close(affinity, golden['affinity'], **exact)
        assert_close(gate[..., None] * affinity, golden['gated_affinity'], **exact)


def test_the_shares_of_reference_and_negatives_make_one():
    """Equal scores of 4,096 cells and 5,760 points leave 0.41558; so does the softmax over both, written out."""
    query, key, points = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3), torch.randn(5, 4)
    negatives = VideoNegatives(channels=4, frames=5, points=1, stored=1)
    negatives.bank.enqueue(points[:, None], torch.arange(5))
    drawn = negatives.draw(torch.tensor([9]))
    affinity, lse = local_affinity(query, key, None, 0.5, with_lse=True)
    lse_negative = negatives.log_mass(query, drawn, 0.5)
    gate = (lse - lse_negative).sigmoid()
    both = torch.cat([query.flatten(2).mT @ key.flatten(2), query.flatten(2).mT @ points.T], -1).mul(0.5).softmax(-1)
    assert_close(affinity * gate[..., None], both[..., :9])
    assert_close(gate + both[..., 9:].sum(-1), torch.ones(1, 9))
    equal = torch.tensor(math.log(4096) - math.log(5760)).sigmoid()
    assert equal.item() == pytest.approx(0.41558, abs=1e-5)


def test_negatives_of_the_own_video_and_empty_slots_change_nothing():
    negatives = VideoNegatives(channels=4, frames=6, points=2, stored=2)
    query, videos = torch.randn(2, 4, 3, 3), torch.tensor([7, 2])
    negatives.bank.enqueue(torch.randn(2, 2, 4), torch.tensor([5, 9]))
    before = negatives.log_mass(query, negatives.draw(videos), 0.5)
    assert before.isfinite().all()
    negatives.bank.enqueue(torch.randn(1, 2, 4), torch.tensor([7]))
    after = negatives.log_mass(query, negatives.draw(videos), 0.5)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
    alone = negatives.log_mass(query, negatives.draw(torch.tensor([7, 2])), 0.5)
    assert torch.equal(alone, after)


def test_a_step_uses_what_stands_in_the_bank_and_adds_its_references():
    model = liir()
    first = step(model, 0, (3, 8))
    assert set(first) == {'gate', 'loss_recon_res5', 'loss_compact'}
    assert first['gate'] == 1
    bank = model.negatives.bank
    assert bank.videos.tolist() == [3, 8, -1, -1, -1, -1]
    assert bank.queue[:2].any(-1).all()
    assert not bank.queue[2:].any()
    assert step(model, 1, (3, 3))['gate'] < 1
    assert bank.videos.tolist() == [3, 8, 3, 3, -1, -1]
    bank.videos.fill_(4)
    assert step(model, 2, (4, 4))['gate'] == 1


def test_a_bank_is_full_after_all_its_frames_and_goes_on_at_its_start():
    model = liir()
    for iteration in range(3):
        step(model, iteration, (2 * iteration, 2 * iteration + 1))
    bank = model.negatives.bank
    assert (bank.videos.tolist(), bank.pointer.item()) == ([0, 1, 2, 3, 4, 5], 0)
    kept = bank.queue[2:].clone()
    step(model, 3, (8, 9))
    assert (bank.videos.tolist(), bank.pointer.item()) == ([8, 9, 2, 3, 4, 5], 2)
    assert torch.equal(bank.queue[2:], kept)


def test_the_gradient_of_negatives_ends_at_the_query():
    """Neither the bank nor the network that fills it is trained; the position map is, by the pair alone."""
    model = liir(compactness_head=dict(weight=0.0))
    for iteration in range(3):
        losses = step(model, iteration, (2 * iteration, 2 * iteration + 1))
    assert not losses['gate'].requires_grad
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert model.backbone.position.map.grad.any()
    assert not [name for name, value in model.negatives.named_parameters() if value.requires_grad]
    assert not model.negatives.bank.queue.requires_grad
    assert all(value.grad is None for value in model.negatives.parameters())


@pytest.mark.parametrize('modulation', ['shifting', 'shuffling', None])
def test_frames_are_remembered_under_a_moved_position_map(modulation):
    model = liir(negatives=dict(modulation=modulation)).eval()
    encoder, seen = model.negatives.encoder.module, []
    torch.nn.init.normal_(model.backbone.position.map)
    encoder.position.register_forward_hook(lambda module, args, out: seen.append(out - args[0]))
    frames = torch.rand(2, 3, 64, 64)
    for iteration in (0, 0, 1):
        MessageHub.get_current_instance().update_info('iter', iteration)
        model.negatives.remember(model.backbone, frames, torch.tensor([1, 2]))
    still = model.backbone.position.on_grid(torch.zeros(1, 64, 32, 32)).detach()
    for moved in seen:
        assert_close(moved.flatten(2).sort(-1)[0], still.flatten(2).sort(-1)[0].expand(2, -1, -1), rtol=0, atol=1e-5)
    assert torch.equal(seen[0], seen[1]), 'the draws of an iteration are always the same'
    same = [torch.allclose(moved, still.expand_as(moved), atol=1e-5) for moved in seen]
    assert same == [modulation is None] * 3
    if modulation is not None:
        assert not torch.allclose(seen[1], seen[2])
        assert not torch.allclose(seen[0][0], seen[0][1])


def test_keys_come_from_a_moving_average_that_is_never_in_training():
    model = liir(negatives=dict(momentum=0.25))
    step(model, 0, (0, 1))
    encoder = model.negatives.encoder.module
    assert not any(module.training for module in encoder.modules())
    before = encoder.conv1.weight.clone()
    assert torch.equal(before, model.backbone.conv1.weight)
    with torch.no_grad():
        model.backbone.conv1.weight.add_(1)
    statistics = model.backbone.bn1.running_mean.clone()
    step(model, 1, (2, 3))
    assert_close(encoder.conv1.weight, before + 0.25)
    assert torch.equal(encoder.bn1.running_mean, statistics)
    model.train()
    assert not encoder.training


@pytest.mark.parametrize(('incoming', 'videos'), [(2, [3, 8]), (None, [3, 8, 5]), (9, [3, 8, 5])])
def test_the_first_frames_of_a_batch_come_in(incoming, videos):
    model = liir(negatives=dict(incoming=incoming))
    step(model, 0, (3, 8, 5))
    bank = model.negatives.bank
    assert bank.videos.tolist() == videos + [-1] * (6 - len(videos))
    assert bank.queue.any(-1).any(-1).tolist() == (bank.videos >= 0).tolist()


def test_points_of_a_frame_are_drawn_anew_in_each_step_and_alike_in_each_run():
    negatives = VideoNegatives(channels=3, frames=50, points=4, stored=16)
    negatives.bank.enqueue(torch.arange(16.0).expand(50, 3, 16).mT.contiguous(), torch.arange(50))
    found = []
    for iteration in (0, 0, 1):
        MessageHub.get_current_instance().update_info('iter', iteration)
        found.append(negatives.draw(torch.tensor([99])).points[:, 0].view(50, 4))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert all(len(set(row.tolist())) == 4 for row in found[0])
    assert len({tuple(row.tolist()) for row in found[0]}) > 40


@pytest.mark.parametrize(('encoding', 'batches'), [('joint', 1), ('separate', 2)])
def test_frames_have_statistics_of_their_own_if_they_are_encoded_apart(encoding, batches):
    model = build('mast_r18_ytv', encoding=encoding).train()
    model(**model.data_preprocessor(clip(2, 64), training=True), mode='loss')
    assert model.backbone.bn1.num_batches_tracked == batches
    frames = torch.rand(2, 2, 3, 64, 64)
    queries, keys = model.encode(frames)
    if encoding == 'separate':
        assert_close(keys['projection'], model.extract_feat(frames[:, 0])['projection'])
        assert_close(queries['projection'], model.extract_feat(frames[:, 1])['projection'])
    else:
        both = model.extract_feat(frames.transpose(0, 1).flatten(0, 1))['projection']
        assert_close(torch.cat([keys['projection'], queries['projection']]), both)


@pytest.mark.parametrize('radius', [1, None])
def test_what_the_compactness_head_asks_for_sums_to_one_inside_the_frame(radius, monkeypatch):
    head, seen = MODELS.build(small('liir_r18_ytv').model.compactness_head), []
    monkeypatch.setattr(head.loss_fn, 'forward', lambda *pair: seen.append(pair) or pair[0].sum())
    features = torch.randn(2, 2, 4, 3, 5)
    affinity = local_affinity(*features, radius, 1.0)
    head.loss(affinity.requires_grad_(), (3, 5), radius)
    heat, target = (value.flatten(1, 2).mT for value in seen[0])
    assert_close(heat, affinity)
    assert not target.requires_grad
    assert_close(target.sum(-1), torch.ones(2, 15))
    assert not target[heat == 0].any()


def test_a_reference_may_be_seen_whole():
    model = build('mast_r18_ytv', radii=dict(projection=None))
    losses = model(**model.data_preprocessor(clip(1, 64), training=True), mode='loss')
    losses['loss_recon_projection'].backward()
    assert model.backbone.conv1.weight.grad.any()
    features = {'projection': torch.randn(1, 64, 4, 6)}
    assert model.local_affinities(features, features)['projection'].shape == (1, 24, 24)


@pytest.mark.parametrize('resolution', ['full', 'stride'])
def test_colours_may_be_classified(resolution):
    """An identical frame of blocks as large as a cell is rebuilt for sure; another colour is as unlikely as can be."""
    head = MODELS.build(dict(small('mast_r18_ytv_classes').model.reconstruction_head, resolution=resolution))
    number = torch.randint(0, 16, (1, 3, 4))

    def picture(number):
        colours = torch.tensor(head.centres)[number].permute(0, 3, 1, 2)
        return torch.cat([torch.zeros(1, 1, 3, 4), colours], 1).repeat_interleave(4, 2).repeat_interleave(4, 3)

    frame = picture(number)
    assert torch.equal(head.channels(frame, torch.tensor([1]))[:, 0, ::4, ::4], number)
    affinity = torch.zeros(1, 12, 9)
    affinity[..., 4] = 1

    def loss(reference, target, affinity):
        arguments = dict(projection=affinity), reference, target, dict(projection=(3, 4)), torch.tensor([1])
        return head.loss(*arguments)['loss_recon_projection'].item()

    other = picture((number + 1) % 16)
    if resolution == 'stride':
        assert loss(frame, frame, affinity) == pytest.approx(0, abs=1e-6)
        assert loss(other, frame, affinity) == pytest.approx(-math.log(1e-12), rel=1e-4)
        assert loss(frame, frame, affinity / 2) == pytest.approx(math.log(2), rel=1e-4)
    else:
        assert 0 < loss(frame, frame, affinity) < loss(other, frame, affinity)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(negatives=dict(stage='res4')), 'at res4, which is no stage of the reconstruction_head'),
        (dict(negatives=dict(points=5, stored=4)), 'stored must be a whole number of at least 5'),
        (dict(negatives=dict(momentum=1.0)), 'momentum must be below 1'),
        (dict(negatives=dict(modulation='other')), 'modulation must be one of'),
        (dict(negatives=dict(frames=0)), 'frames must be'),
        (dict(negatives=dict(incoming=0)), 'incoming must be a whole number of at least 1'),
        (dict(compactness_head=dict(components=0)), 'components must be'),
        (dict(compactness_head=dict(sigma=0.0)), 'sigma must be positive'),
        (dict(compactness_head=dict(threshold=2.0)), 'threshold must be'),
        (dict(compactness_head=dict(stage='res4')), 'CompactnessHead needs res4'),
        (dict(border='other'), 'border must be one of'),
        (dict(encoding='other'), 'encoding must be one of'),
        (dict(radii=dict(res5=0)), r"radii\['res5'\] must be"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(small('liir_r18_ytv', **changes).model)


def test_clips_must_say_which_video_they_are_from():
    model = liir()
    for wanting in (None, [BaseDataElement()]):
        with pytest.raises(ValueError, match='no sample_idx.* PackClip'):
            model(model.data_preprocessor(clip(1, 64), training=True)['inputs'], wanting, mode='loss')


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(channels=512), r'have 256 channels, the bank of negatives 512.*negatives\.channels=256'),
        (dict(channels=128), r'have 256 channels, the bank of negatives 128.*negatives\.channels=256'),
        (dict(frames=1), r'2 frames of each of 1 process.*the bank holds 1.*negatives\.frames'),
        (dict(stored=17), r'17 points .* have 16 cells.*negatives\.stored'),
    ],
)
def test_a_bank_that_the_network_does_not_fit_is_told(wrong, message):
    with pytest.raises(ValueError, match=message):
        step(liir(negatives=wrong), 0, (0, 1), size=16)


def test_what_was_dropped_cannot_be_rebuilt_where_nothing_was():
    with pytest.raises(ValueError, match=r'none is\. Set model\.data_preprocessor\.dropout=one, or .*target'):
        step(liir(data_preprocessor=dict(dropout=None)), 0, (0, 1))
