from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from continual_data import STRIDE_4, check_trains_and_resumes, config_diff, moco, set_files, small, write_fisher
from mmengine.registry import init_default_scope
from torch.testing import assert_close
from two_process_states import states_of_two

from stt_mm.engine import load_config
from stt_mm.models.penalties import check_start
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import CheckpointError

ROOT = Path(__file__).parents[2]
init_default_scope('stt_mm')


class Tiny(torch.nn.Module):
    """Two parameters under nested names."""

    def __init__(self, width=3):
        super().__init__()
        self.layer = torch.nn.Linear(2, width)


def penalty(path, weight=10.0):
    built = MODELS.build(dict(type='EWCPenalty', checkpoint=str(path), weight=weight))
    built.init_weights()
    return built


def test_value_and_gradient_follow_the_formula(tmp_path, device, assert_near):
    network = Tiny()
    content = write_fisher(tmp_path / 'f.pth', network, offset=0.5)
    network.to(device)
    loss = penalty(tmp_path / 'f.pth').to(device).loss(network)['loss_ewc']
    expected = 10 / 2 * 0.5**2 * sum(float(value.sum()) for value in content['fisher'].values())
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    for name, parameter in network.named_parameters():
        assert_near(parameter.grad, 10 * 0.5 * content['fisher'][name])


def test_nothing_at_the_reference_and_four_times_as_much_at_twice_the_distance(tmp_path):
    network = Tiny()
    write_fisher(tmp_path / 'f.pth', network)
    held = penalty(tmp_path / 'f.pth')
    start = held.loss(network)['loss_ewc']
    start.backward()
    assert start == 0
    assert all(not parameter.grad.any() for parameter in network.parameters())
    values, gradients = [], []
    for _ in range(2):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.25
        network.zero_grad()
        values.append(held.loss(network)['loss_ewc'])
        values[-1].backward()
        gradients.append(network.layer.weight.grad)
    assert values[1].item() == pytest.approx(4 * values[0].item(), rel=1e-5)
    assert_close(gradients[1], 2 * gradients[0], rtol=1e-4, atol=1e-6)


def test_it_adds_nothing_to_parameters_and_checkpoints(tmp_path):
    write_fisher(tmp_path / 'f.pth', Tiny())
    held = penalty(tmp_path / 'f.pth')
    assert not list(held.parameters())
    assert not held.state_dict()


@pytest.mark.parametrize(
    ('width', 'message'),
    [
        (4, r'layer.weight is \(3, 2\) in the file and \(4, 2\) in the backbone; layer.bias is \(3,\)'),
        (3, r'layer.bias is absent in the file and \(3,\) in the backbone'),
    ],
)
def test_names_and_shapes_must_fit(tmp_path, width, message):
    content = write_fisher(tmp_path / 'f.pth', Tiny())
    if width == 3:
        for kind in ('fisher', 'reference'):
            del content[kind]['layer.bias']
        torch.save(content, tmp_path / 'f.pth')
    with pytest.raises(CheckpointError, match=message):
        penalty(tmp_path / 'f.pth').loss(Tiny(width))


@pytest.mark.parametrize('count', [2, 3, 4, 6])
def test_the_first_three_names_that_do_not_fit_are_told(tmp_path, count):
    write_fisher(tmp_path / 'f.pth', Tiny())
    network = torch.nn.Module()
    network.layer = Tiny().layer
    for number in range(count):
        network.register_parameter(f'p{number}', torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(CheckpointError) as caught:
        penalty(tmp_path / 'f.pth').loss(network)
    named = [number for number in range(count) if f'p{number} is absent in the file' in str(caught.value)]
    assert named == list(range(min(count, 3)))
    assert (f'; and {count - 3} more.' in str(caught.value)) == (count > 3)
    assert ('more' in str(caught.value)) == (count > 3)


def test_only_parameters_that_both_have_are_compared_at_the_start(capfd):
    network = Tiny()
    reference = {'layer.weight': torch.zeros(4, 2), 'other': torch.zeros(1)}
    check_start(network, SimpleNamespace(reference=reference, checkpoint='f.pth'))
    assert 'differ' not in capfd.readouterr().out
    reference['layer.bias'] = network.layer.bias.detach().half()
    with torch.no_grad():
        network.layer.bias.copy_(reference['layer.bias'])
    check_start(network, SimpleNamespace(reference=reference, checkpoint='f.pth'))
    assert 'differ' not in capfd.readouterr().out
    reference['layer.bias'] = network.layer.bias.detach() - torch.tensor([0, 0.5, -0.25])
    check_start(network, SimpleNamespace(reference=reference, checkpoint='f.pth'))
    assert 'f.pth: 1 of 1 parameters of the backbone differ from it at the start, by up to 0.5.' in (
        capfd.readouterr().out
    )


def test_a_file_in_double_precision_is_used_in_single(tmp_path):
    content = write_fisher(tmp_path / 'f.pth', Tiny())
    torch.save(
        {
            kind: {name: value.double() for name, value in values.items()}
            for kind, values in content.items()
            if kind in ('fisher', 'reference')
        },
        tmp_path / 'f.pth',
    )
    assert penalty(tmp_path / 'f.pth').loss(Tiny())['loss_ewc'].dtype == torch.float32


def test_a_file_that_is_read_again_is_compared_again(tmp_path):
    write_fisher(tmp_path / 'f.pth', Tiny())
    held = penalty(tmp_path / 'f.pth')
    held.loss(Tiny())
    write_fisher(tmp_path / 'f.pth', Tiny(4))
    held.init_weights()
    assert held.loss(Tiny(4))['loss_ewc'] > 0
    held.init_weights()
    with pytest.raises(CheckpointError, match='does not fit the backbone'):
        held.loss(Tiny())


def test_the_options_of_moco_are_handed_on():
    cfg = small('temporal_then_spatial_r18').model
    model = MODELS.build(
        dict(
            cfg,
            type='PenalisedMoCo',
            penalty=None,
            queue_len=6,
            feat_dim=128,
            momentum=0.25,
            init_cfg=dict(type='Normal'),
            data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6]),
        )
    )
    assert model.queue.shape == (128, 6)
    assert model.encoder_k.momentum == 0.25
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    assert model.init_cfg == dict(type='Normal')
    plain = MODELS.build(dict(cfg, type='PenalisedMoCo', backbone=dict(cfg.backbone, init_cfg=None), queue_len=6))
    plain.init_weights()
    assert plain.backbone.is_init
    assert plain.neck.is_init
    with pytest.raises(ValueError, match='PenalisedMoCo cannot be built'):
        MODELS.build(dict(cfg, type='PenalisedMoCo', neck=dict(type='none')))


@pytest.mark.parametrize('kind', ['fisher', 'reference'])
def test_both_parts_of_the_file_must_fit(tmp_path, kind):
    content = write_fisher(tmp_path / 'f.pth', Tiny())
    del content[kind]['layer.bias']
    torch.save(content, tmp_path / 'f.pth')
    with pytest.raises(CheckpointError, match=f'{kind} does not fit the backbone: layer.bias is absent in the file'):
        penalty(tmp_path / 'f.pth').loss(Tiny())


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth'):
        penalty(tmp_path / 'none.pth')
    torch.save(dict(state_dict={}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='other.pth does not hold a Fisher information.*estimate_fisher'):
        penalty(tmp_path / 'other.pth')
    torch.save(dict(fisher=[1], reference='x'), tmp_path / 'form.pth')
    with pytest.raises(CheckpointError, match='form.pth does not hold a Fisher information'):
        penalty(tmp_path / 'form.pth')
    content = write_fisher(tmp_path / 'f.pth', Tiny(), offset=0.5)
    for part in ('fisher', 'reference'):
        name, value = next(iter(content[part].items()))
        changed = dict(content, **{part: dict(content[part], **{name: value * float('nan')})})
        torch.save(changed, tmp_path / 'nan.pth')
        with pytest.raises(CheckpointError, match=f'nan.pth: {name} holds .* infinite or not a number'):
            penalty(tmp_path / 'nan.pth')
    name, value = next(iter(content['fisher'].items()))
    wrong = [
        ('fisher', value - 9, 'as low as -'),
        ('fisher', value.long(), 'torch.int64'),
        ('fisher', value + 1j, 'torch.complex64'),
        ('reference', value.long(), 'torch.int64'),
    ]
    for part, changed, message in wrong:
        torch.save(dict(content, **{part: dict(content[part], **{name: changed})}), tmp_path / 'wrong.pth')
        with pytest.raises(CheckpointError, match=f'wrong.pth: {part} of {name} is {message}'):
            penalty(tmp_path / 'wrong.pth')
    zeros = {key: value * 0 for key, value in content['fisher'].items()}
    torch.save(dict(content, fisher=zeros), tmp_path / 'zero.pth')
    with pytest.raises(CheckpointError, match='zero.pth: fisher is 0 in every entry'):
        penalty(tmp_path / 'zero.pth')
    with pytest.raises(RuntimeError, match='has not read'):
        MODELS.build(dict(type='EWCPenalty', checkpoint='f.pth')).loss(Tiny())
    with pytest.raises(ValueError, match='weight must be 0 or larger, got -1'):
        MODELS.build(dict(type='EWCPenalty', checkpoint='f.pth', weight=-1))
    with pytest.raises(ValueError, match='weight must be a finite number, got nan'):
        MODELS.build(dict(type='EWCPenalty', checkpoint='f.pth', weight=float('nan')))


def test_stt_adds_the_penalty_to_its_losses(tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path)
    cfg = small('stt_r18_ytv_ewc')
    model = MODELS.build(cfg.model)
    model.init_weights()
    clip = dict(inputs=torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8))

    def losses():
        return model(**model.data_preprocessor(clip, training=True), mode='loss')

    assert losses()['loss_ewc'] == 0
    with torch.no_grad():
        model.backbone.conv1.weight += 0.1
    fisher = torch.load(tmp_path / 'fisher.pth', weights_only=True)['fisher']['conv1.weight']
    found = losses()
    assert found['loss_ewc'].item() == pytest.approx(1e3 / 2 * 0.01 * fisher.sum().item(), rel=1e-3)
    assert set(found) == {'loss_recon_res3', 'loss_recon_res4', 'loss_local', 'kept_ratio', 'loss_ewc'}
    assert not any('penalty' in name for name in model.state_dict())


def test_moco_with_a_penalty_is_moco_with_one_more_loss(tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path)
    model = MODELS.build(small('temporal_then_spatial_r18_ewc').model)
    model.init_weights()
    plain = MODELS.build(small('temporal_then_spatial_r18').model)
    assert plain.state_dict().keys() == model.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        for network in (plain, model):
            network.backbone.bn1.bias += 0.1
    views = [torch.randn(2, 3, 64, 64) for _ in range(2)]
    found = {}
    for name, network in (('plain', plain), ('model', model)):
        torch.manual_seed(1)
        found[name] = network.loss(views, [None, None])
    fisher = torch.load(tmp_path / 'fisher.pth', weights_only=True)['fisher']['bn1.bias']
    assert found['model'].keys() == {'loss_moco', 'loss_ewc'}, 'the log has their sum as loss'
    assert found['model']['loss_moco'] == found['plain']['loss']
    assert found['model']['loss_ewc'].item() == pytest.approx(1e3 / 2 * 0.01 * fisher.sum().item(), rel=1e-3)


def test_detco_after_the_temporal_stage(tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path, 50)
    model = MODELS.build(small('temporal_then_spatial_r50_detco_ewc').model)
    model.init_weights()
    with torch.no_grad():
        model.backbone.bn1.bias += 0.1
    views = [torch.randn(2, 3, side, side) for side in (64, 64, 96, 96)]
    losses = model(views, None, mode='loss')
    fisher = torch.load(tmp_path / 'fisher.pth', weights_only=True)['fisher']['bn1.bias']
    assert losses['loss_ewc'].item() == pytest.approx(1e3 / 2 * 0.01 * fisher.sum().item(), rel=1e-3)
    assert len(losses) == 13
    model.backbone.zero_grad()
    losses['loss_ewc'].backward()
    assert {name for name, value in model.backbone.named_parameters() if value.grad.any()} == {'bn1.bias'}


def start_of(name, checkpoint):
    """A config with the penalty, initialised; returns the model."""
    stage1 = dict(type='Pretrained', checkpoint=str(checkpoint.with_name('stage1.pth')), _delete_=True)
    model = MODELS.build(
        small(
            name,
            **{'model.penalty': dict(type='EWCPenalty', checkpoint=str(checkpoint)), 'model.backbone.init_cfg': stage1},
        ).model
    )
    model.init_weights()
    return model


@pytest.mark.parametrize('name', ['stt_r18_ytv_ewc', 'joint_r18_ytv', 'temporal_then_spatial_r18_ewc'])
def test_a_start_elsewhere_than_at_the_reference_is_told(name, tmp_path, monkeypatch, capfd):
    set_files(monkeypatch, tmp_path)
    model = start_of(name, tmp_path / 'fisher.pth')
    assert 'parameters of the backbone differ' not in capfd.readouterr().out
    write_fisher(tmp_path / 'other.pth', model.backbone, offset=0.5)
    start_of(name, tmp_path / 'other.pth')
    lines = [line for line in capfd.readouterr().out.splitlines() if 'parameters of the backbone differ' in line]
    assert len(lines) == 1
    assert 'WARNING' in lines[0]
    # 20 convolutions, and scale and shift of 20 BatchNorm.
    assert 'other.pth: 60 of 60 parameters of the backbone differ from it at the start, by up to 0.5.' in lines[0]
    assert 'model.backbone.init_cfg.checkpoint (STT_STAGE1_* or STT_TEMPORAL_*)' in lines[0]


def test_one_parameter_elsewhere_is_enough(tmp_path, monkeypatch, capfd):
    set_files(monkeypatch, tmp_path)
    content = torch.load(tmp_path / 'fisher.pth', weights_only=True)
    content['reference']['layer3.1.bn2.bias'][7] -= 0.25
    torch.save(content, tmp_path / 'fisher.pth')
    start_of('stt_r18_ytv_ewc', tmp_path / 'fisher.pth')
    assert ': 1 of 60 parameters of the backbone differ from it at the start, by up to 0.25.' in capfd.readouterr().out


def test_one_line_switches_it_off(tmp_path):
    base = ROOT / 'configs' / 'continual' / 'stt_r18_ytv_ewc.py'
    (tmp_path / 'mine.py').write_text(f"_base_ = '{base}'\nmodel = dict(penalty=None)\n")
    assert config_diff(tmp_path / 'mine.py', 'stt_r18_ytv_ewc') == [
        '+ model.penalty = None',
        "- model.penalty.checkpoint = 'pretrained/fisher_r18.pth'",
        "- model.penalty.type = 'EWCPenalty'",
        '- model.penalty.weight = 1000.0',
    ]
    off, plain = (load_config(path).model for path in (tmp_path / 'mine.py', 'stt_r18_ytv_no_global'))
    assert off.pop('penalty') is None
    assert off == plain


@pytest.mark.parametrize(
    'name', ['stt_r18_ytv_ewc', pytest.param('temporal_then_spatial_r18_ewc', marks=pytest.mark.slow)]
)
def test_config_trains_and_resumes(name, tmp_path, monkeypatch, capfd):
    set_files(monkeypatch, tmp_path)
    runner = check_trains_and_resumes(name, tmp_path)
    assert 'parameters of the backbone differ' not in capfd.readouterr().out
    assert runner.message_hub.get_scalar('train/loss_ewc').data[0][1] > 0


@pytest.mark.slow
@pytest.mark.parametrize('name', ['temporal_then_spatial_r18', 'temporal_then_spatial_r18_first', 'stt_r50_ytv_ewc'])
def test_other_configs_train_and_resume(name, tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path, 50 if 'r50' in name else 18)
    check_trains_and_resumes(name, tmp_path, **(STRIDE_4 if 'r50' in name else {}))


def test_the_second_half_of_temporal_then_spatial_starts_from_the_first(tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path)
    first = MODELS.build(small('temporal_then_spatial_r18_first').model)
    first.init_weights()
    torch.save(dict(state_dict=first.state_dict(), meta={}, message_hub={}), tmp_path / 'temporal.pth')
    monkeypatch.setenv('STT_TEMPORAL_R18', str(tmp_path / 'temporal.pth'))
    second = MODELS.build(small('temporal_then_spatial_r18').model)
    second.init_weights()
    for name, value in first.backbone.state_dict().items():
        assert torch.equal(second.backbone.state_dict()[name], value), name


def test_names_of_stage_1_and_stage_2_agree():
    stage2 = MODELS.build(dict(small('stt_r18_ytv_no_global').model.backbone, init_cfg=None))
    ours = {name: value.shape for name, value in stage2.named_parameters()}
    assert ours == {name: value.shape for name, value in moco().backbone.named_parameters()}


@pytest.mark.slow
def test_two_processes_hold_the_same_weights(tmp_path, monkeypatch):
    set_files(monkeypatch, tmp_path)
    ranks = states_of_two(small('stt_r18_ytv_ewc'), tmp_path)
    start = torch.load(tmp_path / 'stage1.pth', weights_only=True)['state_dict']
    assert not torch.equal(ranks[0]['backbone.conv1.weight'], start['backbone.conv1.weight'])
    assert all(torch.equal(ranks[1][name], value) for name, value in ranks[0].items() if 'running' not in name)


class Seen(torch.nn.Module):
    """A penalty that keeps what it is given."""

    stages, reference, checkpoint = (), {}, 'none.pth'

    def loss(self, backbone, frames):
        self.given = backbone, frames
        return dict(loss_seen=frames.new_zeros(()))


@pytest.mark.parametrize('name', ['temporal_then_spatial_r18', 'pretrain/detco_r18_in1k'])
def test_the_penalty_of_stage_1_sees_the_view_of_the_queries(name):
    cfg = load_config(name).model
    cfg = dict(cfg, backbone=dict(cfg.backbone, init_cfg=None), queue_len=4)
    model = MODELS.build(cfg if 'detco' in name else dict(cfg, type='PenalisedMoCo', penalty=None))
    model.penalty = Seen()
    model.init_weights()
    views = [torch.randn(2, 3, side, side) for side in ((64, 64, 96, 96) if 'detco' in name else (64, 64))]
    assert 'loss_seen' in model.loss(views, [None, None])
    backbone, frames = model.penalty.given
    assert backbone is model.backbone
    assert torch.equal(frames, views[0])
