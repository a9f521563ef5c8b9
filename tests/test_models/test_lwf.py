import math

import pytest
import torch
import torch.nn.functional as F
from continual_data import STRIDE_4, check_trains_and_resumes, set_files, small
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch.testing import assert_close

from stt_mm.engine import load_config
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import CheckpointError

init_default_scope('stt_mm')


def build(**options):
    model = MODELS.build(small('stt_r18_ytv_lwf', **options).model)
    model.init_weights()
    return model


def clip(batch=2):
    return dict(inputs=torch.randint(0, 256, (batch, 2, 3, 64, 64), dtype=torch.uint8))


@pytest.fixture
def stage1(tmp_path, monkeypatch):
    """The files of stage 1; returns its model."""
    return set_files(monkeypatch, tmp_path)


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=1)


def test_the_loss_is_the_cross_entropy_of_two_softmaxes_over_the_queue(stage1):
    penalty = build().penalty
    new, old = unit(3, 128), unit(3, 128)
    found = penalty.compare(new, old)
    rows = []
    for z_new, z_old in zip(new.double(), old.double(), strict=True):
        weights = [[math.exp(float(z @ key) / 0.2 / 2) for key in stage1.queue.double().T] for z in (z_new, z_old)]
        p_new, p_old = ([value / sum(row) for value in row] for row in weights)
        rows.append(
            (-sum(b * math.log(a) for a, b in zip(p_new, p_old, strict=True)), -sum(b * math.log(b) for b in p_old))
        )
    crossed, entropy = (sum(column) / 3 for column in zip(*rows, strict=True))
    assert found['loss_lwf'].item() == pytest.approx(crossed, rel=1e-5)
    assert found['lwf_entropy'].item() == pytest.approx(entropy, rel=1e-5)
    assert found['loss_lwf'] > found['lwf_entropy']


def test_equal_answers_cost_the_entropy_and_give_no_gradient(stage1):
    penalty = build().penalty
    old = unit(4, 128)
    new = old.clone().requires_grad_()
    found = penalty.compare(new, old)
    found['loss_lwf'].backward()
    assert_close(found['loss_lwf'], found['lwf_entropy'])
    assert new.grad.abs().max() < 1e-6
    # 16 keys that are all alike tell nothing apart: ln 16, whatever the embeddings.
    penalty.old.queue[:] = penalty.old.queue[:, :1]
    assert penalty.compare(unit(4, 128), old)['loss_lwf'].item() == pytest.approx(math.log(16), rel=1e-5)


def test_embedding_distance(stage1):
    penalty = build(**{'model.penalty.distance': 'embedding', 'model.penalty.weight': 3.0}).penalty
    old = unit(4, 128)
    assert penalty.compare(-old, old)['loss_lwf'].item() == pytest.approx(3 * 4, rel=1e-5)
    assert penalty.compare(old, old)['loss_lwf'] == 0


def test_the_entropy_is_logged_without_the_weight(stage1):
    old = unit(4, 128)
    one, three = (build(**{'model.penalty.weight': weight}).penalty.compare(old, old) for weight in (1.0, 3.0))
    assert_close(three['loss_lwf'], 3 * one['loss_lwf'])
    assert_close(three['lwf_entropy'], one['lwf_entropy'])


def test_embeddings_need_no_queue(tmp_path, stage1):
    cfg = load_config('pretrain/simsiam_r18_in1k').model
    torch.save(dict(state_dict=MODELS.build(cfg).state_dict()), tmp_path / 'simsiam.pth')
    options = {
        'model.penalty.checkpoint': str(tmp_path / 'simsiam.pth'),
        'model.penalty.neck': dict(cfg.neck, _delete_=True),
        'model.backbone.init_cfg.checkpoint': str(tmp_path / 'simsiam.pth'),
    }
    model = build(
        **options,
        **{'model.penalty.distance': 'embedding', 'model.backbone.geometry': 'standard'},
    ).eval()
    frames = torch.randn(2, 3, 64, 64)
    assert model.penalty.loss(model.backbone, frames) == dict(loss_lwf=0, lwf_entropy=0)
    with torch.no_grad():
        model.backbone.conv1.weight += 0.1
    assert model.penalty.loss(model.backbone, frames)['loss_lwf'] > 1e-4
    with pytest.raises(CheckpointError, match=r'simsiam.pth lacks queue, or'):
        build(**options)


def test_a_student_that_starts_elsewhere_is_told(tmp_path, monkeypatch, capfd):
    stage1 = set_files(monkeypatch, tmp_path)
    build()
    assert 'parameters of the backbone differ' not in capfd.readouterr().out
    with torch.no_grad():
        stage1.backbone.bn1.weight += 0.125
    torch.save(dict(state_dict=stage1.state_dict()), tmp_path / 'other.pth')
    build(**{'model.penalty.checkpoint': str(tmp_path / 'other.pth')})
    text = 'other.pth: 1 of 60 parameters of the backbone differ from it at the start, by up to 0.125.'
    assert capfd.readouterr().out.count(text) == 1


def test_old_answers_are_those_of_stage_1(stage1):
    """With the student in the teacher's geometry and in eval mode, both see the same and the loss is the entropy."""
    model = build(**{'model.backbone.geometry': 'standard'}).eval()
    frames = torch.randn(2, 3, 64, 64)
    found = model.penalty.loss(model.backbone, frames)
    assert_close(found['loss_lwf'], found['lwf_entropy'], rtol=1e-6, atol=0)
    stage1.eval()
    with torch.no_grad():
        embedding = F.normalize(stage1.neck(stage1.backbone(frames))[0], dim=1)
    expected = (embedding @ stage1.queue / 0.4).log_softmax(1)
    assert found['lwf_entropy'].item() == pytest.approx(-(expected.exp() * expected).sum(1).mean().item(), rel=1e-5)


def test_student_learns_from_it_and_the_old_parts_do_not_change(stage1):
    model = build()
    names = ('loss_recon_res3', 'loss_recon_res4', 'loss_local', 'kept_ratio', 'loss_lwf', 'lwf_entropy')
    losses = model(**model.data_preprocessor(clip(), training=True), mode='loss')
    assert set(losses) == set(names)
    before = {name: value.clone() for name, value in model.penalty.old.state_dict().items()}
    losses['loss_lwf'].backward()
    assert model.backbone.layer4[1].conv2.weight.grad.abs().max() > 0
    assert all(value.grad is None for value in model.penalty.old.parameters())
    optimizer = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=0.1))).optimizer
    optimizer.step()
    model.train()
    assert not model.penalty.old.training
    assert all(torch.equal(value, before[name]) for name, value in model.penalty.old.state_dict().items())
    assert not any('penalty' in name for name in model.state_dict())
    assert not any('penalty' in name for name, _ in model.named_parameters())


def test_the_rgb_pass_leaves_the_running_statistics_alone(stage1):
    model, plain = build(), MODELS.build(small('stt_r18_ytv_no_global').model)
    plain.backbone.load_state_dict(model.backbone.state_dict())
    data = clip()
    for network in (model, plain):
        network(**network.data_preprocessor(data, training=True), mode='loss')
    for name in ('bn1', 'layer3.1.bn2'):
        ours, theirs = (network.backbone.get_submodule(name) for network in (model, plain))
        assert ours.num_batches_tracked == theirs.num_batches_tracked == 1
        assert torch.equal(ours.running_mean, theirs.running_mean)


def test_a_detco_checkpoint_is_read_by_its_names(tmp_path, monkeypatch, stage1):
    weights = {name: value for name, value in stage1.state_dict().items() if name.startswith('backbone.')}
    weights |= {f'neck.global_mlps.3.{name}': value for name, value in stage1.neck.state_dict().items()}
    weights['queues.global_res5.queue'] = stage1.queue
    torch.save(dict(state_dict=weights), tmp_path / 'detco.pth')
    penalty = build(
        **{
            'model.penalty.checkpoint': str(tmp_path / 'detco.pth'),
            'model.penalty.neck_prefix': 'neck.global_mlps.3.',
            'model.penalty.queue_name': 'queues.global_res5.queue',
        }
    ).penalty
    assert torch.equal(penalty.old.queue, stage1.queue)
    assert torch.equal(penalty.old.neck.mlp[2].weight, stage1.neck.mlp[2].weight)


def test_a_file_without_head_or_queue_is_refused(tmp_path, stage1):
    weights = {name: value for name, value in stage1.state_dict().items() if name.startswith('backbone.')}
    torch.save(dict(state_dict=weights), tmp_path / 'half.pth')
    with pytest.raises(CheckpointError, match=r'half.pth lacks neck.mlp.0.weight.*, queue, or.*full checkpoint'):
        build(**{'model.penalty.checkpoint': str(tmp_path / 'half.pth')})
    weights = stage1.state_dict()
    for name in ('neck.mlp.0.weight', 'queue'):
        torch.save(dict(state_dict={**weights, name: weights[name] * float('nan')}), tmp_path / 'nan.pth')
        with pytest.raises(CheckpointError, match=f'nan.pth: {name} holds .* infinite or not a number'):
            build(**{'model.penalty.checkpoint': str(tmp_path / 'nan.pth')})
    model = MODELS.build(small('stt_r18_ytv_lwf').model)
    with pytest.raises(RuntimeError, match='has not read'):
        model(**model.data_preprocessor(clip(), training=True), mode='loss')
    with pytest.raises(ValueError, match='LwFPenalty needs res5, but CorrespondenceResNet returns res3, res4'):
        build(**{'model.backbone.out_indices': (1, 2)})
    with pytest.raises(ValueError, match='must be positive.*got 0'):
        build(**{'model.penalty.temperature': 0})


@pytest.mark.parametrize('distance', ['distribution', 'embedding'])
def test_answers_are_compared_in_float32(distance, stage1, monkeypatch):
    penalty = build(**{'model.penalty.distance': distance}).penalty
    new, old = torch.randn(2, 4, 128).bfloat16()
    network = torch.nn.Identity()
    network.stages = ('res4', 'res5')
    monkeypatch.setattr(network, 'forward', lambda frames: (None, new))
    monkeypatch.setattr(penalty.old.backbone, 'forward', lambda frames: (None, old))
    monkeypatch.setattr(penalty.old.neck, 'forward', lambda maps: list(maps))
    expected = penalty.compare(*(F.normalize(value.float(), dim=1) for value in (new, old)))
    for enabled in (True, False):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            assert penalty.loss(network, torch.rand(4, 3, 8, 8)) == expected
    network.stages = ('res3', 'res4', 'res5')
    with pytest.raises(ValueError, match='zip'):
        penalty.loss(network, torch.rand(4, 3, 8, 8))


def test_a_queue_in_half_precision_is_used_in_full(tmp_path, stage1):
    weights = stage1.state_dict()
    torch.save(dict(state_dict=dict(weights, queue=weights['queue'].half())), tmp_path / 'half.pth')
    queue = build(**{'model.penalty.checkpoint': str(tmp_path / 'half.pth')}).penalty.old.queue
    assert torch.equal(queue, weights['queue'].half().float())
    assert queue.dtype == torch.float32


@pytest.mark.parametrize(
    ('name', 'wrong', 'message'),
    [
        ('weight', -1, 'weight must be 0 or larger'),
        ('temperature', -1, 'temperature must be positive'),
        ('logit_temperature', 0, 'logit_temperature must be positive'),
        ('distance', 'cosine', 'distance must be one of'),
    ],
)
def test_a_setting_out_of_its_range_is_named(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='LwFPenalty', checkpoint='file.pth', backbone={}, neck={}, **{name: wrong}))


@pytest.mark.slow
def test_config_trains_and_resumes(tmp_path, stage1):
    check_trains_and_resumes('stt_r18_ytv_lwf', tmp_path)


@pytest.mark.slow
def test_the_largest_config_trains_and_resumes(tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path, 50)
    check_trains_and_resumes('stt_r50_ytv_lwf', tmp_path, **STRIDE_4)


def test_the_old_parts_follow_the_type_and_the_device(stage1):
    penalty = build().penalty
    assert penalty.double() is penalty
    assert {value.dtype for value in penalty.old.state_dict().values() if value.is_floating_point()} == {torch.float64}
    assert {value.device.type for value in penalty.to('meta').old.state_dict().values()} == {'meta'}


@pytest.mark.parametrize(
    ('name', 'distance', 'refused'),
    [
        ('neck.mlp.2.weight', 'distribution', True),
        ('neck.mlp.0.bias', 'embedding', True),
        ('queue', 'distribution', True),
        ('queue', 'embedding', False),
    ],
)
def test_each_part_of_the_head_must_be_there_and_fit(tmp_path, stage1, name, distance, refused):
    weights = stage1.state_dict()
    changes = {'model.penalty.checkpoint': str(tmp_path / 'file.pth'), 'model.penalty.distance': distance}
    for value in (None, weights[name][:1]) if name != 'queue' else (None,):
        content = {key: kept for key, kept in weights.items() if key != name}
        torch.save(dict(state_dict=content if value is None else dict(content, **{name: value})), tmp_path / 'file.pth')
        if refused:
            with pytest.raises(CheckpointError, match=rf'file.pth lacks {name}, or they have another shape'):
                build(**changes)
        else:
            build(**changes)


@pytest.mark.parametrize('kind', ['PenalisedMoCo', 'DetCo'])
def test_a_backbone_without_the_stage_is_refused_by_every_algorithm(kind):
    name = dict(PenalisedMoCo='mocov2', DetCo='detco')[kind]
    cfg = load_config(f'pretrain/{name}_r18_in1k').model
    penalty = load_config('continual/stt_r18_ytv_lwf').model.penalty
    cfg.update(type=kind, penalty=dict(penalty, stage='res6'))
    with pytest.raises(ValueError, match='LwFPenalty needs res6, but .* returns '):
        MODELS.build(cfg)
