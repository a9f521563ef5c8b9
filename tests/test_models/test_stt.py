import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch.testing import assert_close

from stt_mm.registry import MODELS
from stt_mm.utils.config_path import config_path

init_default_scope('stt_mm')


def small(name='stt_r18_ytv', **model):
    """The shipped model without pretrained paths."""
    cfg = Config.fromfile(config_path(name))
    cfg.merge_from_dict({'model.backbone.init_cfg': None})
    if cfg.model.get('teacher'):
        cfg.merge_from_dict({'model.teacher.backbone.init_cfg': None})
    cfg.merge_from_dict(dict(model=model))
    return cfg


def build(*args, **kwargs):
    model = MODELS.build(small(*args, **kwargs).model)
    model.init_weights()
    return model


def clip(batch=1, size=256):
    return dict(inputs=torch.randint(0, 256, (batch, 2, 3, size, size), dtype=torch.uint8), data_samples=[None] * batch)


def losses_of(model, data):
    return model(**model.data_preprocessor(data, training=True), mode='loss')


@pytest.mark.parametrize(('name', 'channel'), [('a', 2), ('b', 1)])
def test_losses_and_gradients_are_those_of_the_released_code(name, channel, data, device, assert_near):
    golden = np.load(data / f'stt_losses_released_{name}.npz')
    assert golden['dropped_channel'] == channel
    lab = (torch.from_numpy(golden['lab']).float() * float(golden['lab_scale'])).to(device)
    features = {
        stage: torch.from_numpy(golden[f'student_{stage}']).to(device).requires_grad_()
        for stage in ('res3', 'res4', 'res5')
    }
    teacher = torch.from_numpy(golden['teacher_res5']).to(device)
    dropped = torch.tensor([channel], device=device)
    model = MODELS.build(small().model)
    losses = model.head_losses(
        {stage: feature[:, 1] for stage, feature in features.items()},
        {stage: feature[:, 0] for stage, feature in features.items()},
        lab[:, 0],
        lab[:, 1],
        dropped,
        (teacher[:, 0], teacher[:, 1]),
    )
    names = dict(
        loss_recon_res3='loss_stage0_l1_loss',
        loss_recon_res4='loss_stage1_l1_loss',
        loss_local='loss_local_corrdis_loss',
        loss_global='loss_global_corrdis_loss',
    )
    for ours, theirs in names.items():
        assert_near(losses[ours].item(), float(golden[theirs]))
    sum(losses[key] for key in names).backward()
    for stage, feature in features.items():
        assert_near(feature.grad.double().norm().item(), float(golden[f'grad_norm_{stage}']))


def test_only_optimised_terms_are_called_loss():
    losses = losses_of(build(), clip())
    assert set(losses) == {'loss_recon_res3', 'loss_recon_res4', 'loss_local', 'loss_global', 'kept_ratio'}
    assert 0.3 < losses['kept_ratio'] < 0.7


def test_grids_of_the_training_geometry():
    model = build()
    features = model.extract_feat(torch.zeros(1, 3, 256, 256))
    assert {stage: tuple(f.shape[1:]) for stage, f in features.items()} == dict(
        res3=(128, 64, 64), res4=(256, 32, 32), res5=(512, 8, 8)
    )
    assert model.teacher(torch.zeros(1, 3, 256, 256)).shape == (1, 512, 8, 8)


def test_gradients_reach_the_stages_that_each_term_uses():
    model = build()
    # The last BatchNorm of each block starts at 0 and would stop gradients into the block's convolutions.
    for name, parameter in model.backbone.named_parameters():
        if 'bn2.weight' in name:
            torch.nn.init.ones_(parameter)
    reached = {}
    for term in ('loss_recon_res3', 'loss_recon_res4', 'loss_local', 'loss_global'):
        model.zero_grad()
        losses_of(model, clip())[term].backward()
        reached[term] = [
            any(p.grad is not None and p.grad.any() for p in getattr(model.backbone, layer).parameters())
            for layer in ('layer2', 'layer3', 'layer4')
        ]
    assert reached == dict(
        loss_recon_res3=[True, False, False],
        loss_recon_res4=[True, True, False],
        loss_local=[True, True, False],
        loss_global=[True, True, True],
    )
    assert all(p.grad is None for p in model.teacher.network.parameters())


def test_pseudo_label_has_no_gradient_unless_asked():
    grads = {}
    for detach in (True, False):
        model = MODELS.build(small(local_head=dict(detach=detach, selection=None)).model)
        torch.manual_seed(1)
        features = {
            stage: [torch.randn(1, 16, n, n, requires_grad=True) for _ in range(2)]
            for stage, n in (('res3', 32), ('res4', 16))
        }
        queries, keys = ({stage: pair[side] for stage, pair in features.items()} for side in (0, 1))
        affinities = model.local_affinities(queries, keys)
        model.local_head.loss(queries, keys, affinities, 0.25)['loss_local'].backward()
        grads[detach] = queries['res3'].grad, queries['res4'].grad
    assert grads[True][0] is None
    assert grads[False][0].abs().sum() > 0
    assert_close(grads[True][1], grads[False][1])


def test_teacher_never_changes():
    model = build()
    optimizer = build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)))
    before = {name: value.clone() for name, value in model.teacher.network.state_dict().items()}
    student = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    frames = torch.randn(2, 3, 64, 64)
    outputs = []
    for _ in range(2):
        model.train()
        model.train_step(clip(size=128), optimizer)
        outputs.append(model.teacher(frames))
    assert torch.equal(*outputs)
    assert not model.teacher.network.training
    assert all(torch.equal(value, before[name]) for name, value in model.teacher.network.state_dict().items())
    assert any(not torch.equal(value, student[name]) for name, value in model.backbone.state_dict().items())


def test_a_teacher_without_weights_is_told(tmp_path, capfd):
    teacher = MODELS.build(small().model.teacher)
    teacher.init_weights()
    assert capfd.readouterr().out.count('The teacher has no checkpoint: its targets come from random weights') == 1
    torch.save(teacher.network.state_dict(), tmp_path / 'file.pth')
    cfg = small().model.teacher
    cfg.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
    other = MODELS.build(cfg)
    other.init_weights()
    assert 'no checkpoint' not in capfd.readouterr().out
    frames = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert torch.equal(other(frames), teacher(frames))
    assert not other(frames).requires_grad
    assert not any(value.requires_grad for value in other.network.parameters())


def test_teacher_is_in_no_optimizer_and_no_checkpoint_but_follows_the_device():
    model = build()
    teacher = {id(parameter) for parameter in model.teacher.network.parameters()}
    assert not teacher & {id(parameter) for parameter in model.parameters()}
    assert not [key for key in model.state_dict() if 'teacher' in key]
    assert next(model.double().teacher.network.parameters()).dtype == torch.float64


def test_global_loss_vanishes_for_equal_features_and_equal_scales_only():
    features = torch.randn(2, 512, 8, 8)
    losses = {}
    for temperature in (None, 0.07):
        head = MODELS.build(small(global_head=dict(teacher_temperature=temperature)).model.global_head)
        losses[temperature] = head.loss(features, features.flip(0), features, features.flip(0))['loss_global'].item()
    assert losses[None] == 0
    assert losses[0.07] > 0
    assert pytest.approx(323.25, abs=0.01) == 512**0.5 / 0.07


def test_teacher_may_have_another_depth():
    model = build(teacher=dict(backbone=dict(depth=50)))
    assert model.teacher(torch.zeros(1, 3, 256, 256)).shape == (1, 2048, 8, 8)
    assert losses_of(model, clip())['loss_global'] > 0


def test_temporal_only_has_no_teacher_and_no_unused_parameter():
    model = build('stt_r18_ytv_temporal')
    losses = losses_of(model, clip(size=128))
    assert 'loss_global' not in losses
    assert model.teacher is None
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize('head', ['reconstruction_head', 'local_head', 'global_head'])
def test_each_head_can_be_switched_off(head):
    cfg = small()
    cfg.merge_from_dict({f'model.{head}': None})
    model = MODELS.build(cfg.model)
    model.init_weights()
    losses = losses_of(model, clip(size=128))
    prefix = {'reconstruction_head': 'loss_recon', 'local_head': 'loss_local', 'global_head': 'loss_global'}[head]
    assert losses
    assert not [key for key in losses if key.startswith(prefix)]
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_stages_above_the_highest_used_one_are_frozen():
    model = build(global_head=None)
    assert model.backbone.stages == ('res3', 'res4')
    assert not any(p.requires_grad for p in model.backbone.layer4.parameters())


def test_a_frame_without_chroma_costs_nothing_to_rebuild():
    model = build()
    frames = torch.zeros(1, 2, 3, 256, 256)
    frames[:, :, 0] = torch.rand(1, 2, 256, 256)
    dropped = torch.tensor([1])
    inputs = dict(frames=frames, student=frames * 1.5, teacher=frames, dropped=dropped)
    losses = model.loss(inputs)
    assert losses['loss_recon_res3'] == losses['loss_recon_res4'] == 0


def test_reductions_of_the_released_code():
    from stt_mm.models import AffinityLoss

    prediction, target = torch.rand(2, 1024, 169), torch.rand(2, 1024, 169)
    weight = torch.rand(2, 1024) > 0.3
    kept = (prediction - target).square().sum(-1)[weight].mean()
    assert_close(1000 * AffinityLoss()(prediction, target, weight), 0.9765625 * kept)
    assert_close(AffinityLoss('query')(prediction, target, weight), kept)
    coarse = torch.rand(2, 2, 64, 64)
    norm = (coarse[0] - coarse[1]).square().sum(-1).mean()
    assert_close(50 * AffinityLoss()(coarse[0], coarse[1]), 0.78125 * norm)
    assert_close(AffinityLoss()(prediction, target, torch.ones(2, 1024)), AffinityLoss()(prediction, target))


def test_quarter_mass_pseudo_label_punishes_confidence():
    from stt_mm.models import AffinityLoss

    loss = AffinityLoss('query')
    target = torch.zeros(1, 1, 169, dtype=torch.float64)
    target[..., 84] = 0.25
    delta = 4 * target
    assert loss(delta, target).item() == pytest.approx(0.5625)
    assert loss(torch.full_like(target, 1 / 169), target).item() == pytest.approx(1 / 16 + 0.5 / 169)
    peaks = torch.linspace(0, 1, 100001, dtype=torch.float64)
    cost = (peaks - 0.25) ** 2 + (1 - peaks) ** 2 / 168
    assert peaks[cost.argmin()].item() == pytest.approx(0.25444, abs=1e-5)


@pytest.mark.parametrize('source', ['window', 'affinity'])
@pytest.mark.parametrize('selection', ['released', 'per_image', 'batch', 'soft'])
def test_selection_carries_no_gradient(selection, source):
    model = MODELS.build(small(local_head=dict(selection=selection, source=source)).model)
    query, key = torch.randn(2, 1, 16, 32, 32, requires_grad=True)
    affinity = model.local_affinities({'res3': query, 'res4': query}, {'res3': key, 'res4': key})['res4']
    assert not model.local_head.select(query, key, affinity).requires_grad


def test_what_lies_outside_of_the_frame_does_not_make_a_match_surer():
    """Of a window at the border, only the cells inside count for the entropy of the affinity."""
    from twins import dense_affinity, dense_mask

    from stt_mm.ops import keep_per_image

    model = MODELS.build(small(local_head=dict(selection='per_image', source='affinity'), radii=dict(res4=2)).model)
    query, key = torch.randn(2, 1, 16, 8, 10)
    affinity = model.local_affinities({'res3': query, 'res4': query}, {'res3': key, 'res4': key})['res4']
    dense = dense_affinity(query, key, 2, 1 / 4)
    entropy = -(dense + 1e-12).log().where(dense_mask(8, 10, 2), torch.tensor(0.0)).sum(-1)
    expected = keep_per_image(entropy.view(1, 8, 10), 0.7)
    assert torch.equal(model.local_head.select(query, key, affinity).view(1, 8, 10), expected)


@pytest.mark.parametrize('align', ['half_pixel', 'aligned'])
def test_the_head_enlarges_the_rebuilt_frame_as_it_is_told(align):
    from stt_mm.ops import subsample, upsample

    head = MODELS.build(dict(small().model.reconstruction_head, stages=('res3',), weights=(1.0,), upsample=align))
    frame = torch.rand(1, 3, 16, 24)
    # Each cell is rebuilt from the same cell of the same frame.
    affinity = torch.zeros(1, 24, 9)
    affinity[..., 4] = 1
    dropped = torch.tensor([1])
    found = head.loss(dict(res3=affinity), frame, frame, dict(res3=(4, 6)), dropped)['loss_recon_res3']
    losses = {
        rule: head.loss_fn(upsample(subsample(frame[:, 1:2], 4), 4, rule), frame[:, 1:2])
        for rule in ('half_pixel', 'aligned')
    }
    assert_close(found, losses[align])
    assert not torch.isclose(*losses.values())


@pytest.mark.parametrize(('target', 'channels'), [('dropped', [2]), ('ab', [1, 2]), ('all', [0, 1, 2])])
def test_what_is_rebuilt_on_the_grid_are_the_channels_that_are_asked_for(target, channels):
    from stt_mm.ops import subsample

    head = MODELS.build(
        dict(small().model.reconstruction_head, stages=('res3',), weights=(0.5,), target=target, resolution='stride')
    )
    reference, frame = torch.rand(2, 1, 3, 16, 24)
    affinity = torch.zeros(1, 24, 9)
    affinity[..., 4] = 1
    dropped = torch.tensor([2])
    found = head.loss(dict(res3=affinity), reference, frame, dict(res3=(4, 6)), dropped)['loss_recon_res3']
    rebuilt, truth = (subsample(picture[:, channels], 4) for picture in (reference, frame))
    assert_close(found, 0.5 * head.loss_fn(rebuilt, truth))


@pytest.mark.parametrize('pooling', ['avg', 'sum', 'logit'])
def test_the_pseudo_label_is_pooled_as_it_is_told(pooling):
    """The mean of the affinities of 2 x 2 queries with 2 x 2 keys, their sum over the keys, or that of their logits."""
    from twins import dense_affinity, dense_mask, pool_dense, to_dense

    model = MODELS.build(small(local_head=dict(pooling=pooling), radii=dict(res3=4, res4=2)).model)
    fine, coarse = torch.randn(2, 1, 16, 8, 12), torch.randn(2, 1, 16, 4, 6)
    queries, keys = (dict(res3=fine[side], res4=coarse[side]) for side in (0, 1))
    label = model.local_head.pseudo_label(queries, keys, model.local_affinities(queries, keys), 1 / 4)
    if pooling == 'logit':
        logits = pool_dense(fine[0].flatten(2).mT @ fine[1].flatten(2) / 4, (8, 12))
        expected = logits.masked_fill(~dense_mask(4, 6, 2), -torch.inf).softmax(-1)
    else:
        expected = pool_dense(dense_affinity(fine[0], fine[1], 4, 1 / 4), (8, 12)) * (4 if pooling == 'sum' else 1)
    assert_close(to_dense(label, (4, 6)), expected, rtol=1e-4, atol=1e-6)


def test_features_in_half_precision_are_compared_in_float32(monkeypatch):
    """Affinities and the choice of queries alike."""
    model = build(global_head=None, teacher=None).eval()
    frames = torch.rand(1, 2, 3, 128, 128)
    inputs = dict(frames=frames, student=frames, teacher=frames, dropped=torch.tensor([1]))
    with torch.no_grad():
        half = {stage: value.bfloat16() for stage, value in model.extract_feat(frames.flatten(0, 1)).items()}
    found = []
    for features in (half, {stage: value.float() for stage, value in half.items()}):
        monkeypatch.setattr(model, 'extract_feat', lambda _, features=features: features)
        found.append(model.loss(inputs))
    assert found[0] == found[1]


def test_a_teacher_in_half_precision_is_compared_in_float32(monkeypatch):
    model = build(reconstruction_head=None, local_head=None).eval()
    frames, target = torch.rand(1, 2, 3, 64, 64), torch.randn(2, 512, 2, 2).bfloat16()
    inputs = dict(frames=frames, student=frames, teacher=frames, dropped=torch.tensor([1]))
    found = []
    for value in (target, target.float()):
        monkeypatch.setattr(model.teacher, 'forward', lambda _, value=value: value)
        found.append(model.loss(inputs))
    assert found[0] == found[1]
    assert set(found[0]) == {'loss_global'}


def test_the_penalty_sees_what_the_teacher_sees():
    """The first and the last frame of each clip, in its colours and with all channels."""
    model = build(global_head=None, teacher=None)
    seen = []

    class Penalty(torch.nn.Module):
        stages = ()

        def loss(self, backbone, frames):
            seen.append((backbone, frames))
            return dict(loss_penalty=frames.sum() * 0)

    model.penalty = Penalty()
    frames, student, teacher = torch.rand(3, 2, 3, 3, 64, 64)
    losses = model.loss(dict(frames=frames, student=student, teacher=teacher, dropped=torch.tensor([1])))
    assert 'loss_penalty' in losses
    ((backbone, given),) = seen
    assert backbone is model.backbone
    assert torch.equal(given, torch.stack([teacher[0, 0], teacher[0, -1], teacher[1, 0], teacher[1, -1]]))


def test_stride_4_uses_the_pseudo_label_without_pooling():
    model = build('stt_r18_ytv_s4')
    features = model.extract_feat(torch.zeros(1, 3, 256, 256))
    assert features['res3'].shape[-2:] == features['res4'].shape[-2:] == (64, 64)
    assert losses_of(model, clip())['loss_local'] > 0


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(radii=dict(_delete_=True, res3=12)), 'ReconstructionHead needs res4'),
        (dict(feature_stage='res9'), "'res9' is not among"),
        (dict(backbone=dict(out_indices=(1, 3)), feature_stage='res3', global_head=None), 'Head needs res4, but'),
        (dict(backbone=dict(out_indices=(1, 2))), 'global_head needs res5, but the backbone returns res3, res4'),
        (dict(local_head=dict(selection='median')), 'selection must be one of'),
        (dict(local_head=dict(keep_ratio=1.5)), 'keep_ratio must be positive and at most 1, got'),
        (dict(backbone=dict(geometry='stride6')), "geometry must be one of 'stride8', 'stride4', "),
        (dict(temperature=-1.0), 'temperature must be positive'),
        (dict(teacher=None), 'global_head needs a teacher'),
        (dict(temperature=float('nan')), 'temperature must be a finite number or None, got nan'),
        (dict(global_head=dict(teacher_temperature=float('inf'))), 'teacher_temperature must be a finite number'),
        (dict(local_head=dict(weight=float('nan'))), 'weight must be a finite number'),
        (dict(local_head=dict(keep_ratio='0.7')), "keep_ratio must be a finite number, got '0.7'"),
        (
            dict(reconstruction_head=dict(weights=(1.0, float('nan')))),
            r'weights must be \[a finite number, \.\.\.\], got',
        ),
        (dict(reconstruction_head=dict(loss=dict(scale=float('inf')))), 'scale must be a finite number'),
        (dict(radii=dict(res3=10**6)), r"radii\['res3'\] must be 1 or larger and at most 256, got 1000000"),
        (dict(radii=dict(res3=2.5)), r"radii\['res3'\] must be a whole number"),
    ],
)
def test_impossible_models_are_refused_with_a_reason(change, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(small(**change).model)


def test_windows_that_do_not_fit_each_other_are_refused():
    model = build(radii=dict(res3=8))
    with pytest.raises(ValueError, match='radii must be in the ratio of the grids'):
        losses_of(model, clip(size=128))


def test_dropped_channel_is_a_function_of_seed_iteration_and_rank():
    preprocessor = build().data_preprocessor
    hub = MessageHub.get_current_instance()
    draws = {}
    for seed in (0, 1):
        hub.update_info('seed', seed)
        for iteration in range(40):
            hub.update_info('iter', iteration)
            draws[seed, iteration] = preprocessor.draw_dropped(1).tolist()
    assert all(draw in ([False, True, False], [False, False, True]) for draw in draws.values())
    hub.update_info('seed', 0)
    hub.update_info('iter', 7)
    assert preprocessor.draw_dropped(1).tolist() == draws[0, 7]
    share = np.mean([draw[1] for draw in draws.values()])
    assert 0.3 < share < 0.7
    assert [draws[0, i] for i in range(40)] != [draws[1, i] for i in range(40)]


def test_dropout_choices():
    per_sample = build(data_preprocessor=dict(drop_per='sample')).data_preprocessor
    rows = per_sample.draw_dropped(64)
    assert rows.shape == (64, 3)
    assert rows.sum(1).tolist() == [1] * 64
    assert 16 < rows[:, 1].sum() < 48
    inputs = per_sample(clip(4, 32), training=True)['inputs']
    assert inputs['dropped'].tolist() == [[channel] for channel in per_sample.draw_dropped(4).argmax(1)]
    bernoulli = build(data_preprocessor=dict(dropout='bernoulli', drop_prob=1.0)).data_preprocessor
    assert bernoulli.draw_dropped(4).tolist() == [False, True, True]
    assert bernoulli(clip(4, 32), training=True)['inputs']['dropped'].tolist() == [1, 2]
    losses = losses_of(build('stt_r18_ytv_temporal', data_preprocessor=dict(drop_per='sample')), clip(2, 128))
    assert losses['loss_recon_res3'] > 0


def test_training_frames_and_evaluation_frames_are_in_the_same_colours():
    preprocessor = build().data_preprocessor
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    inputs = preprocessor(dict(inputs=torch.from_numpy(image).permute(2, 0, 1)[None, None]), training=True)['inputs']
    model = build(propagator=dict(protocol=dict(short_side=None)))
    assert_close(model.prepare(image)[None], inputs['frames'][0], rtol=0, atol=6e-3)
    assert inputs['teacher'].mean().abs() < 3
    assert_close(inputs['student'].abs().sum(), inputs['student'].index_fill(2, inputs['dropped'], 0).abs().sum())


def test_a_clip_counts_by_its_first_and_its_last_frame():
    model = build(global_head=None, teacher=None, local_head=dict(selection=None)).eval()
    clip = torch.rand(1, 3, 3, 64, 64)
    dropped = torch.tensor([1])
    losses = [
        model.loss(dict(frames=frames, student=frames, teacher=frames, dropped=dropped))
        for frames in (clip, clip[:, [0, 2]], clip[:, [0, 1]])
    ]
    assert losses[0] == losses[1]
    assert losses[0]['loss_recon_res3'] != losses[2]['loss_recon_res3']


@pytest.mark.parametrize('radius', [1, 3])
def test_the_measure_is_taken_over_the_windows_of_the_coarse_affinity(radius):
    """Of raw products, with zeros beyond the border, as unfolding makes them."""
    from stt_mm.ops import keep_per_image

    head = MODELS.build(dict(small().model.local_head, selection='per_image', source='window', keep_ratio=0.5))
    query, key = torch.randn(2, 2, 8, 9, 11, dtype=torch.float64)
    cells = (2 * radius + 1) ** 2
    windows = torch.nn.functional.unfold(key, 2 * radius + 1, padding=radius).view(2, 8, cells, 99)
    affinity = torch.einsum('bcq,bckq->bqk', query.flatten(2), windows).softmax(-1)
    expected = keep_per_image(-(affinity + 1e-12).log().sum(-1).view(2, 9, 11), 0.5)
    assert torch.equal(head.select(query, key, torch.rand(2, 99, cells)).view(2, 9, 11), expected)


@pytest.mark.parametrize('radius', [1, 256, 2.0])
def test_radii_at_their_bounds(radius):
    model = MODELS.build(small(radii=dict(res3=radius)).model)
    assert model.radii['res3'] == radius
    assert isinstance(model.radii['res3'], int)
    for wrong in (0, 257):
        with pytest.raises(ValueError, match=r"radii\['res3'\] must be 1 or larger and at most 256"):
            MODELS.build(small(radii=dict(res3=wrong)).model)


@pytest.mark.parametrize('frames', [(16, 22), (18, 24), (20, 24), (16, 28)])
def test_frames_that_do_not_fit_a_grid_name_the_stride(frames):
    head = MODELS.build(dict(small().model.reconstruction_head, stages=('res3',), weights=(1.0,)))
    picture = torch.rand(1, 3, *frames)
    stride = -(-frames[1] // 6)
    with pytest.raises(ValueError, match=f'{frames[0]} x {frames[1]} pixels do not fit the stride {stride} of res3'):
        head.loss(dict(res3=torch.zeros(1, 24, 9)), picture, picture, dict(res3=(4, 6)), torch.tensor([1]))


@pytest.mark.parametrize('grid', [(3, 6), (4, 5)])
def test_teacher_and_student_must_have_one_grid(grid):
    head = MODELS.build(small().model.global_head)
    student, teacher = torch.rand(1, 8, 3, 5), torch.rand(1, 8, *grid)
    with pytest.raises(ValueError, match=r'Student res5 has grid \(3, 5\), the teacher'):
        head.loss(student, student, teacher, teacher)


def test_weights_of_the_heads_are_factors():
    query, key, teacher_query, teacher_key = torch.randn(4, 1, 8, 4, 6)
    affinity = torch.rand(1, 24, 9)
    found = {}
    for weight in (1.0, 3.0):
        cfg = small().model
        local = MODELS.build(dict(cfg.local_head, weight=weight))
        maps = [dict(res3=value, res4=value) for value in (query, key)]
        found[weight] = [
            MODELS.build(dict(cfg.global_head, weight=weight)).loss(query, key, teacher_query, teacher_key),
            local.loss(*maps, dict(res3=affinity, res4=affinity.flip(1)), 1.0),
        ]
    for one, three in zip(found[1.0], found[3.0], strict=True):
        for name in one:
            assert_close(three[name], (3 if 'loss' in name else 1) * one[name])


def test_the_stage_that_is_evaluated_is_run_where_there_is_an_evaluation():
    settings = dict(global_head=None, teacher=None, feature_stage='res5')
    assert MODELS.build(small(**settings).model).used_stages() == {'res3', 'res4', 'res5'}
    assert MODELS.build(small(**settings, propagator=None).model).used_stages() == {'res3', 'res4'}
    alone = small(**settings, propagator=None, reconstruction_head=None, local_head=None)
    assert MODELS.build(alone.model).used_stages() == {'res5'}


@pytest.mark.parametrize('normalize', [True, False])
def test_local_cosines_do_not_see_the_length_of_a_feature(normalize):
    model = MODELS.build(small(normalize=normalize, global_head=None, teacher=None, radii=dict(res3=2, res4=1)).model)
    features = [torch.randn(2, 8, 6, 5) for _ in range(2)]
    scaled = [feature * (1 + torch.rand(2, 1, 6, 5)) for feature in features]
    one, two = (
        model.local_affinities(*({'res3': value, 'res4': value} for value in pair)) for pair in (features, scaled)
    )
    assert one.keys() == two.keys() == {'res3', 'res4'}
    for stage, value in one.items():
        assert torch.allclose(value, two[stage], atol=1e-6) == normalize


@pytest.mark.parametrize(('temperature', 'scale'), [(None, 1 / 4), (2.0, 0.5), (0.1, 10)])
def test_the_scale_is_one_over_the_temperature(temperature, scale):
    model = MODELS.build(small(temperature=temperature, global_head=None, teacher=None).model)
    assert model.scale(torch.zeros(2, 16, 3, 5)) == pytest.approx(scale)


def test_the_teacher_sees_the_first_frame_and_the_last(monkeypatch):
    """Its features of the target are the queries, those of the reference the keys, as those of the student."""
    model = build(reconstruction_head=None, local_head=None).eval()
    frames, student, teacher = torch.rand(3, 2, 3, 3, 64, 64)
    seen, given = [], []
    run, loss = model.teacher.forward, model.global_head.loss
    monkeypatch.setattr(model.teacher, 'forward', lambda frames: seen.append(frames) or run(frames))
    monkeypatch.setattr(model.global_head, 'loss', lambda *maps: given.append(maps) or loss(*maps))
    model.loss(dict(frames=frames, student=student, teacher=teacher, dropped=torch.tensor([1])))
    assert torch.equal(seen[0], torch.cat([teacher[:, 0], teacher[:, 2]]))
    with torch.no_grad():
        expected = [
            *(model.extract_feat(student[:, t])['res5'] for t in (2, 0)),
            *(model.teacher(teacher[:, t]) for t in (2, 0)),
        ]
    for ours, value in zip(given[0], expected, strict=True):
        assert_close(ours, value, rtol=1e-4, atol=1e-5)


def test_a_batch_in_which_no_query_is_kept_costs_nothing():
    from stt_mm.models import AffinityLoss

    prediction, target = torch.rand(2, 2, 4, 9)
    for reduction in ('element', 'query'):
        assert AffinityLoss(reduction)(prediction, target, torch.zeros(2, 4)) == 0


def test_soft_weights_and_the_part_that_is_kept_are_logged():
    for selection in ('soft', 'per_image', None):
        head = MODELS.build(dict(small().model.local_head, selection=selection))
        maps = [{stage: torch.randn(2, 8, 10, 9) for stage in ('res3', 'res4')} for _ in range(2)]
        affinities = {stage: torch.rand(2, 90, 25) for stage in ('res3', 'res4')}
        losses = head.loss(*maps, affinities, 1.0)
        weight = head.select(maps[0]['res4'], maps[1]['res4'], affinities['res4'])
        assert losses['loss_local'] == 1000 * head.loss_fn(affinities['res4'], affinities['res3'], weight)
        assert ('kept_ratio' in losses) == (selection is not None)
        if selection is not None:
            assert losses['kept_ratio'] == weight.float().mean()
