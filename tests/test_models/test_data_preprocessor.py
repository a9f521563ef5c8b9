"""What is dropped when, and colours that mixed precision leaves alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.errors import InputError
from stt_mm.models import ClipDataPreprocessor
from stt_mm.models import data_preprocessor as module
from stt_mm.ops import normalise_frames
from stt_mm.registry import MODELS
from stt_mm.utils.config_path import config_path

init_default_scope('stt_mm')


def draws(count=60, seed=0, rank=0, monkeypatch=None, **settings):
    """Channel (1 or 2) dropped in each of the first iterations of a process."""
    monkeypatch.setattr(module, 'get_rank', lambda: rank)
    hub = MessageHub.get_current_instance()
    hub.update_info('seed', seed)
    preprocessor = ClipDataPreprocessor(**settings)
    found = []
    for iteration in range(count):
        hub.update_info('iter', iteration)
        found.append(int(preprocessor.draw_dropped(1).argmax()))
    return found


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('rank', [0, 1, 3])
def test_each_process_drops_both_channels_about_equally_often(seed, rank, monkeypatch):
    found = draws(seed=seed, rank=rank, monkeypatch=monkeypatch)
    assert set(found) == {1, 2}
    assert 0.3 < np.mean([channel == 1 for channel in found]) < 0.7
    # Neither in turn nor in long runs.
    assert 15 < sum(first != second for first, second in zip(found, found[1:], strict=False)) < 45


def test_processes_draw_on_their_own_unless_they_share(monkeypatch):
    for seed in range(3):
        own = [draws(seed=seed, rank=rank, monkeypatch=monkeypatch) for rank in range(3)]
        assert own[0] != own[1] != own[2] != own[0]
        shared = [draws(seed=seed, rank=rank, rank_shared=True, monkeypatch=monkeypatch) for rank in range(3)]
        assert shared[0] == shared[1] == shared[2] == own[0]


@pytest.mark.parametrize('info', [dict(seed=5, iter=7), {}, dict(seed=None), dict(iter=2)])
def test_the_draw_is_that_of_seed_iteration_and_rank(info, monkeypatch):
    monkeypatch.setattr(module, 'get_rank', lambda: 3)
    hub = SimpleNamespace(get_current_instance=lambda: SimpleNamespace(runtime_info=info))
    monkeypatch.setattr(module, 'MessageHub', hub)
    rng = np.random.default_rng([info.get('seed') or 0, info.get('iter', 0), 3])
    found = ClipDataPreprocessor(drop_per='sample').draw_dropped(20)
    assert (found.argmax(1) - 1).tolist() == [int(rng.integers(2)) for _ in range(20)]


def test_bernoulli_drops_one_or_both_channels_but_never_none():
    hub = MessageHub.get_current_instance()
    hub.update_info('seed', 0)
    seen = {0.0: set(), 0.5: set()}
    for probability, rows in seen.items():
        preprocessor = ClipDataPreprocessor(dropout='bernoulli', drop_prob=probability)
        for iteration in range(60):
            hub.update_info('iter', iteration)
            rows.add(tuple(preprocessor.draw_dropped(1).astype(int)))
    assert seen == {0.0: {(0, 1, 0), (0, 0, 1)}, 0.5: {(0, 1, 0), (0, 0, 1), (0, 1, 1)}}


@pytest.mark.parametrize('probability', [0.25, 0.5, 1.0])
def test_bernoulli_draws_the_channels_independently(probability):
    hub = MessageHub.get_current_instance()
    hub.update_info('seed', 0)
    preprocessor = ClipDataPreprocessor(dropout='bernoulli', drop_prob=probability)
    rows = []
    for iteration in range(1500):
        hub.update_info('iter', iteration)
        rows.append(preprocessor.draw_dropped(1))
    rows = np.stack(rows).astype(float)
    assert not rows[:, 0].any()
    assert (rows[:, 1] * rows[:, 2]).mean().item() == pytest.approx(probability**2, abs=0.05)
    # Where none of the two is drawn, one of them is chosen evenly.
    single = probability + (1 - probability) ** 2 / 2
    assert rows.mean(0)[1:].tolist() == pytest.approx([single, single], abs=0.05)


@pytest.mark.parametrize(
    ('settings', 'shape', 'count'),
    [
        ({}, (3,), 1),
        (dict(dropout=None), (3,), 0),
        (dict(drop_per='sample'), (5, 3), 1),
        (dict(drop_per='sample', dropout=None), (3,), 0),
        (dict(dropout='bernoulli', drop_prob=1), (3,), 2),
    ],
)
def test_what_is_dropped_has_a_row_per_draw(settings, shape, count):
    dropped = ClipDataPreprocessor(**settings).draw_dropped(5)
    assert (dropped.shape, dropped.dtype) == (shape, bool)
    assert set(dropped.reshape(-1, 3).sum(1)) == {count}


@pytest.mark.parametrize('student', ['lab', 'rgb'])
@pytest.mark.parametrize('teacher', ['lab', 'rgb'])
@pytest.mark.parametrize('rescale', [True, False])
def test_the_student_sees_what_is_kept_and_the_teacher_all(student, teacher, rescale):
    data = clip(batch=2, size=8)
    settings = dict(student_color=student, teacher_color=teacher, rescale=rescale, drop_per='sample')
    found = ClipDataPreprocessor(**settings)(data, training=True)['inputs']
    scaled = data['inputs'].float() / 255
    assert torch.equal(found['frames'], normalise_frames(scaled, student))
    assert torch.equal(found['teacher'], normalise_frames(scaled, teacher))
    for frames, row, ours in zip(found['frames'], found['dropped'], found['student'], strict=True):
        for channel in range(3):
            factor = 0 if channel in row else 1.5 if rescale else 1
            torch.testing.assert_close(ours[:, channel], factor * frames[:, channel])


def clip(batch=2, size=64):
    return dict(inputs=torch.randint(0, 256, (batch, 2, 3, size, size), dtype=torch.uint8))


def test_samples_and_videos_pass_through():
    samples = [object(), object()]
    assert ClipDataPreprocessor()(dict(clip(), data_samples=samples), training=True)['data_samples'] == samples
    videos = dict(inputs=['video'], data_samples=samples)
    assert ClipDataPreprocessor()(videos) is videos


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(dropout='bernoulli'),
        dict(drop_per='sample'),
        dict(student_color='rgb', dropout=None),
        dict(teacher_color='lab'),
    ],
)
def test_colours_are_those_of_full_precision_under_autocast(settings, dtype):
    preprocessor = ClipDataPreprocessor(**settings)
    data = clip()
    expected = preprocessor(data, training=True)['inputs']
    with torch.autocast('cpu', dtype=dtype):
        found = preprocessor(data, training=True)['inputs']
        assert torch.is_autocast_enabled('cpu')
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_joint_training_too():
    cfg = load_config(config_path('joint_r18_demo'))
    preprocessor = MODELS.build(dict(cfg.model, backbone=dict(cfg.model.backbone, init_cfg=None))).data_preprocessor
    views = [torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8) for _ in range(2)]
    data = dict(video=clip(), image=dict(inputs=views, data_samples=[None] * 2))
    expected = preprocessor(data, training=True)['inputs']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = preprocessor(data, training=True)['inputs']
    assert all(
        torch.equal(found['video']['inputs'][name], value) for name, value in expected['video']['inputs'].items()
    )
    assert all(map(torch.equal, found['image']['inputs'], expected['image']['inputs']))


@pytest.mark.parametrize('name', ['stt_r18_ytv', 'crw_r18_ytv'])
def test_losses_are_computed_in_full_precision_from_the_features(name, monkeypatch):
    """With features in full precision, autocast changes no digit of a loss."""
    cfg = load_config(config_path(name))
    cfg.merge_from_dict({'model.backbone.init_cfg': None})
    if cfg.model.get('teacher'):
        cfg.merge_from_dict({'model.teacher.backbone.init_cfg': None})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    for network in (model.backbone, *([model.teacher.network] if getattr(model, 'teacher', None) else ())):
        run = network.forward

        def plain(x, run=run):
            with torch.autocast('cpu', enabled=False):
                return run(x.float())

        monkeypatch.setattr(network, 'forward', plain)
    if hasattr(model, 'projection'):
        run_projection = model.projection.forward

        def projection(x):
            with torch.autocast('cpu', enabled=False):
                return run_projection(x.float())

        monkeypatch.setattr(model.projection, 'forward', projection)
    data = clip(size=128)
    expected = model(**model.data_preprocessor(data, training=True), mode='loss')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = model(**model.data_preprocessor(data, training=True), mode='loss')
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize('wrong', [float('nan'), float('inf'), '0.5', True, None, 1.5, -0.1])
def test_a_probability_is_a_number_from_0_to_1(wrong):
    with pytest.raises(ValueError, match='drop_prob must be'):
        ClipDataPreprocessor(dropout='bernoulli', drop_prob=wrong)


@pytest.mark.parametrize(
    ('batch', 'message'),
    [
        (dict(frames=torch.zeros(1)), 'got a dict without them'),
        ([dict(inputs=torch.zeros(1))], 'got a list without them'),
        (dict(inputs=[torch.zeros(2, 3, 4, 4)]), 'got a list'),
        (dict(inputs=torch.zeros(2, 3, 4, 4)), r'got a Tensor of shape \(2, 3, 4, 4\)'),
    ],
)
def test_a_batch_that_nobody_packed_is_refused_with_what_to_do(batch, message):
    with pytest.raises(InputError, match=f'{message}. End the pipeline with PackClip, and set collate_fn'):
        ClipDataPreprocessor()(batch, training=True)


def test_ddp_has_nothing_of_it_to_hand_out_in_each_step():
    preprocessor = ClipDataPreprocessor('lab', 'rgb')
    preprocessor(dict(inputs=torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)), training=True)
    assert list(preprocessor.buffers()) == []
