from pathlib import Path

import pytest
import torch
from continual_data import STRIDE_4, check_trains_and_resumes, config_diff, make_data, small
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from pretrain_runs import run_config
from torch.testing import assert_close
from two_process_states import states_of_two

from stt_mm.datasets import ImageFolder, YouTubeVOS
from stt_mm.models.batch_statistics import BatchStatistics
from stt_mm.models.correspondence.joint import StageView
from stt_mm.registry import MODELS
from stt_mm.utils.weights import load_backbone

ROOT = Path(__file__).parents[2]
init_default_scope('stt_mm')


def build(**options):
    torch.manual_seed(3)
    model = MODELS.build(small('joint_r18_ytv', **options).model)
    model.init_weights()
    # The last BatchNorm of each block starts at 0 and would stop gradients into the block's convolutions.
    for name, parameter in model.backbone.named_parameters():
        if 'bn2.weight' in name:
            torch.nn.init.constant_(parameter, 0.5)
    return model


def step():
    """One batch of each kind, unequal in size and in number."""
    generator = torch.Generator().manual_seed(5)
    video = torch.randint(0, 256, (2, 2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    views = [torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8, generator=generator) for _ in range(2)]
    return dict(video=dict(inputs=video), image=dict(inputs=views, data_samples=[None] * 4))


def losses_of(model):
    torch.manual_seed(1)
    return model(**model.data_preprocessor(step(), training=True), mode='loss')


def backward(losses):
    sum(value for name, value in losses.items() if 'loss' in name).backward()


def alone(joint):
    """MoCo and STT as networks of their own, with the weights of a joint model."""
    cfg = small('joint_r18_ytv').model
    backbone = dict(cfg.backbone, out_indices=(3,))
    moco = MODELS.build(dict(cfg.image_branch, backbone=backbone))
    moco.backbone.load_state_dict(joint.backbone.state_dict())
    moco.neck.load_state_dict(joint.image_branch.neck.state_dict())
    moco.queue.copy_(joint.image_branch.queue)
    settings = dict(cfg, type='STT')
    for key in ('gamma', 'dual_bn', 'image_stages', 'image_branch'):
        settings.pop(key)
    stt = MODELS.build(settings)
    stt.backbone.load_state_dict(joint.backbone.state_dict())
    return moco, stt


@pytest.fixture(scope='module')
def separate():
    """Losses and gradients of the two branches of ``build()``, each computed by a network of its own."""
    moco, stt = alone(build())
    torch.manual_seed(1)
    image = moco(**moco.data_preprocessor(step()['image'], training=True), mode='loss')
    video = stt(**stt.data_preprocessor(step()['video'], training=True), mode='loss')
    backward(image)
    backward(video)
    return image, video, moco, stt


def test_the_loss_is_that_of_the_images_plus_gamma_times_that_of_the_videos(separate):
    image, video, moco, stt = separate
    model = build(**{'model.gamma': 3.0})
    found = losses_of(model)
    assert set(found) == {'image_loss', 'loss_recon_res3', 'loss_recon_res4', 'loss_local', 'kept_ratio'}
    assert_close(found['image_loss'], image['loss'], rtol=1e-5, atol=0)
    for name in ('loss_recon_res3', 'loss_recon_res4', 'loss_local'):
        assert_close(found[name], 3 * video[name], rtol=1e-5, atol=0)
    assert found['kept_ratio'] == video['kept_ratio']
    backward(found)
    theirs = dict(stt.backbone.named_parameters())
    for (name, ours), other in zip(model.backbone.named_parameters(), moco.backbone.parameters(), strict=True):
        temporal = theirs[name].grad
        expected = other.grad if temporal is None else other.grad + 3 * temporal
        assert_close(ours.grad, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert_close(model.image_branch.neck.mlp[0].weight.grad, moco.neck.mlp[0].weight.grad, rtol=1e-3, atol=1e-6)


def test_the_shared_backbone_stands_once(tmp_path):
    model = build()
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    assert {name.split('.')[0] for name in names} == {'backbone', 'image_branch'}
    assert [name for name in names if name.startswith('image_branch')] == [
        f'image_branch.neck.mlp.{layer}.{kind}' for layer in (0, 2) for kind in ('weight', 'bias')
    ]
    optimizer = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-4))).optimizer
    held = [id(value) for group in optimizer.param_groups for value in group['params']]
    assert len(held) == len(set(held))
    assert model.image_branch.backbone.network is model.backbone
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'joint.pth')
    other = MODELS.build(dict(type='CorrespondenceResNet', depth=18, out_indices=(2,)))
    report = load_backbone(other, tmp_path / 'joint.pth')
    assert not report.missing
    assert not report.unexpected
    assert torch.equal(other.conv1.weight, model.backbone.conv1.weight)


def test_every_trained_parameter_has_a_gradient():
    model = build()
    backward(losses_of(model))
    assert [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None] == []


def test_separate_statistics_are_those_of_separate_networks(separate):
    _, _, moco, stt = separate
    model = build(**{'model.dual_bn': True})
    losses_of(model)
    for name, value in stt.backbone.state_dict().items():
        if 'running' in name and not name.startswith('layer4'):
            assert_close(model.backbone.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    images = model.image_statistics.state_dict()
    for name, value in moco.backbone.state_dict().items():
        if 'running' in name or 'tracked' in name:
            assert_close(images[name.replace('.', '-')], value, rtol=1e-5, atol=1e-6)


def test_shared_statistics_see_the_images_first_and_the_videos_then(separate):
    """Each batch enters with momentum 0.1: 0.9 of what the images left, 0.1 of the videos."""
    _, _, moco, stt = separate
    model = build()
    losses_of(model)
    start, images, videos = (network.backbone.bn1.running_mean for network in (build(), moco, stt))
    batch = (videos - 0.9 * start) / 0.1
    assert_close(model.backbone.bn1.running_mean, 0.9 * images + 0.1 * batch, rtol=1e-4, atol=1e-5)
    assert model.backbone.bn1.num_batches_tracked == 2


def test_a_network_is_seen_by_its_chosen_stages():
    network = MODELS.build(dict(type='CorrespondenceResNet', depth=18))
    view, frames = StageView(network, ('res3', 'res5')), torch.rand(1, 3, 64, 64)
    assert (view.stages, view.out_indices) == (('res3', 'res5'), (1, 3))
    maps = network.eval()(frames)
    assert all(map(torch.equal, view(frames), (maps[0], maps[2])))


def test_the_geometry_of_a_model_that_is_only_trained_has_the_colours_of_its_clips():
    assert build(**{'model.propagator': None}).geometry['color'] == 'lab'


def test_layers_that_keep_no_statistics_are_left_alone():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3, track_running_stats=False), torch.nn.BatchNorm2d(3))
    other = BatchStatistics(network)
    assert set(other.state_dict()) == {'1-running_mean', '1-running_var', '1-num_batches_tracked'}
    with other.used_by(network):
        network(torch.randn(2, 3, 4, 4))
    assert (network[1].num_batches_tracked, other.state_dict()['1-num_batches_tracked']) == (0, 1)
    other.init_from(network)
    assert other.state_dict()['1-num_batches_tracked'] == 0


def test_statistics_come_back_after_an_error():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    other = BatchStatistics(network)
    own = network[0].running_mean

    def fail():
        with other.used_by(network):
            network(torch.ones(2, 3, 4, 4))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert network[0].running_mean is own
    assert own.tolist() == [0, 0, 0]
    assert_close(other.state_dict()['0-running_mean'], torch.full((3,), 0.1))


def test_evaluation_takes_the_video_statistics():
    model = build(**{'model.dual_bn': True})
    losses_of(model)
    model.eval()
    frames = torch.rand(1, 3, 64, 64)
    before = model(frames)
    for value in model.image_statistics.buffers():
        value.zero_()
    assert torch.equal(model(frames), before)


def test_separate_statistics_start_as_those_of_the_checkpoint(tmp_path):
    network = MODELS.build(small('joint_r18_ytv').model).backbone
    network.bn1.running_mean.fill_(2.0)
    torch.save({f'backbone.{name}': value for name, value in network.state_dict().items()}, tmp_path / 'start.pth')
    start = dict(_delete_=True, type='Pretrained', checkpoint=str(tmp_path / 'start.pth'))
    model = build(**{'model.dual_bn': True, 'model.backbone.init_cfg': start})
    assert model.image_statistics.state_dict()['bn1-running_mean'].tolist() == [2.0] * 64


def test_detco_can_be_the_image_branch():
    branch = dict(
        _delete_=True,
        type='DetCo',
        queue_len=16,
        neck=dict(type='DetCoNeck', in_channels=(64, 128, 256, 512)),
        head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
    )
    model = build(
        **{
            'model.image_branch': branch,
            'model.image_stages': ('res2', 'res3', 'res4', 'res5'),
            'model.backbone.out_indices': (0, 1, 2, 3),
        }
    )
    data = step()
    mosaics = [torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8) for _ in range(2)]
    data['image']['inputs'] = [view for pair in zip(data['image']['inputs'], mosaics, strict=True) for view in pair]
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    assert sum(name.startswith('image_loss_') for name in losses) == 12
    backward(losses)
    assert [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None] == []


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match='gamma must be 0 or larger, got -1'):
        build(**{'model.gamma': -1.0})
    with pytest.raises(ValueError, match='image_stages asks for res2, but the backbone returns res3, res4, res5'):
        build(**{'model.image_stages': ('res2', 'res5')})
    # Those of the temporal branch as well.
    with pytest.raises(ValueError, match='temperature must be'):
        build(**{'model.temperature': -1.0})
    with pytest.raises(ValueError, match='one batch of videos and one of images per step, got inputs.*JointIterLoop'):
        build().data_preprocessor(step()['video'], training=True)


def test_one_line_changes_gamma(tmp_path):
    base = ROOT / 'configs' / 'continual' / 'joint_r18_ytv.py'
    (tmp_path / 'mine.py').write_text(f"_base_ = '{base}'\nmodel = dict(gamma=0.1)\n")
    assert config_diff(tmp_path / 'mine.py', 'joint_r18_ytv') == ['- model.gamma = 1.0', '+ model.gamma = 0.1']


def test_config_trains_and_resumes_where_both_samplers_were(tmp_path, monkeypatch):
    make_data(tmp_path / 'data')
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    cfg = small('joint_r18_ytv', **{'model.dual_bn': True})
    straight = run_config(cfg, tmp_path / 'straight', written=[1])
    asked = {}
    for dataset in (ImageFolder, YouTubeVOS):
        asked[dataset.__name__] = []

        def record(self, key, inner=dataset.__getitem__, draws=asked[dataset.__name__]):
            draws.append(key[1])
            return inner(self, key)

        monkeypatch.setattr(dataset, '__getitem__', record)
    resumed = run_config(cfg, tmp_path / 'resumed', tmp_path / 'straight' / 'iter_1.pth', written=[])
    assert asked == dict(ImageFolder=[2, 3], YouTubeVOS=[2, 3])
    first, second = straight.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert first['image_branch.queue_ptr'] == 4
    assert 'image_statistics.bn1-running_mean' in first
    for draws in asked.values():
        draws.clear()
    cfg.train_cfg.image_dataloader.batch_size = 4
    run_config(cfg, tmp_path / 'unequal', written=[])
    assert asked == dict(ImageFolder=list(range(8)), YouTubeVOS=list(range(4)))


@pytest.mark.slow
def test_the_largest_config_trains_and_resumes(tmp_path, monkeypatch):
    make_data(tmp_path / 'data')
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    check_trains_and_resumes('joint_r50_ytv', tmp_path, **STRIDE_4)


@pytest.mark.slow
def test_two_processes_hold_the_same_weights_and_queue(tmp_path, monkeypatch):
    make_data(tmp_path / 'data')
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    ranks = states_of_two(small('joint_r18_ytv'), tmp_path)
    assert ranks[0]['image_branch.queue_ptr'] == 8
    assert all(torch.equal(ranks[1][name], value) for name, value in ranks[0].items() if 'running' not in name)


@pytest.mark.parametrize('gamma', [0, 0.1])
def test_the_least_gamma(gamma):
    assert MODELS.build(small('joint_r18_ytv', **{'model.gamma': gamma}).model).gamma == gamma


def test_statistics_that_a_layer_binds_anew_are_kept_too():
    class Rebinding(torch.nn.BatchNorm2d):
        def forward(self, x):
            self.num_batches_tracked = self.num_batches_tracked + 1
            return x

    network = torch.nn.Sequential(Rebinding(3))
    other = BatchStatistics(network)
    for count in (1, 2):
        with other.used_by(network):
            network(torch.ones(2, 3, 4, 4))
        assert (network[0].num_batches_tracked, other.state_dict()['0-num_batches_tracked']) == (0, count)
