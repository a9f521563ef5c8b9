"""Stage 1 under this toolbox's runtime: loops, hooks, resuming, watching, and the way to stage 2."""

import copy
import json
import math
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from pretrain_runs import CONFIGS, make_trees, run_config, small_config

from stt_mm.engine import check_queue, load_config
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import read_checkpoint
from stt_mm.utils.weights import backbone_state_dict, load_backbone

TOOLS = Path(__file__).parents[2] / 'tools'
RECIPES = sorted(path.stem for path in (CONFIGS / 'pretrain').glob('*.py'))
FAST = ('mocov2_r18_in1k', 'simsiam_r18_in1k')


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    return make_trees(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def mocov2(roots, tmp_path_factory):
    """MoCo v2 R18 after 4 iterations, validated in the middle and at the end."""
    cfg = small_config('mocov2_r18_in1k', roots, **{'train_cfg.max_iters': 4})
    return run_config(cfg, tmp_path_factory.mktemp('mocov2'))


def state(runner, step):
    return torch.load(Path(runner.work_dir) / f'iter_{step}.pth', weights_only=True)['state_dict']


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


# Losses


@pytest.mark.parametrize('kind', ['mocov2', 'densecl'])
def test_equal_logits_cost_the_logarithm_of_65537(kind):
    """The cross-entropy of one key among 65,537 that look alike: ln 65537 = 11.0904."""
    init_default_scope('stt_mm')
    head = MODELS.build(load_config(CONFIGS / 'pretrain' / f'{kind}_r18_in1k.py').model.head)
    loss = head.loss(torch.full((5, 1), 0.3), torch.full((5, 65536), 0.3))
    assert loss.item() == pytest.approx(math.log(65537), abs=1e-4)
    assert round(loss.item(), 4) == 11.0904


def test_loss_of_moco_is_that_of_its_queue_by_hand(roots):
    """The first loss of a model with one key per direction, from features and the formula."""
    cfg = small_config('mocov2_r18_in1k', roots)
    torch.manual_seed(3)
    init_default_scope('stt_mm')
    model = MODELS.build(cfg.model).train()
    views = [torch.randn(8, 3, 32, 32) for _ in range(2)]
    queue = model.queue.clone()
    query, key = (torch.nn.functional.normalize(model.neck(model.backbone(view))[0], dim=1) for view in views)
    # The first update copies the query encoder; the statistics of a batch do not depend on its order.
    loss = model.loss(views, None)['loss']
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue], dim=1) / 0.2
    expected = (logits.logsumexp(1) - logits[:, 0]).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.queue[:, :8], key.T, rtol=1e-4, atol=1e-4)
    assert torch.equal(model.queue[:, 8:], queue[:, 8:])
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.encoder_k.parameters())


# Training and resuming


@pytest.mark.parametrize(
    'name', [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
)
def test_every_recipe_trains_two_steps_and_resumes(name, roots, tmp_path):
    """A run that goes on after one step ends with the very state of one that was not stopped."""
    cfg = small_config(name, roots)
    straight = run_config(cfg, tmp_path / 'a', written=[1])
    assert 0 < straight.message_hub.get_scalar('val/J&F-Mean').current() < 1
    assert straight.message_hub.get_scalar('train/loss').data[0].shape == (2,)
    resumed = run_config(cfg, tmp_path / 'b', tmp_path / 'a' / 'iter_1.pth', written=[])
    one, two = state(straight, 1), straight.model.state_dict()
    assert_same(two, resumed.model.state_dict())
    moved = [name for name in two if not torch.equal(one[name], two[name])]
    assert 'backbone.conv1.weight' in moved
    assert [name for name in one if 'queue' in name] == [] or any('queue' in name for name in moved)


def test_validation_leaves_training_as_it_was(mocov2, roots, tmp_path):
    cfg = small_config('mocov2_r18_in1k', roots, **{'train_cfg.max_iters': 4, 'train_cfg.val_interval': 1})
    assert_same(state(mocov2, 4), run_config(cfg, tmp_path, written=[]).model.state_dict())


def test_key_encoder_follows_by_the_average(mocov2):
    """After iteration i: key = 0.999 key + 0.001 query, query before the step; statistics are copied."""
    before, after = state(mocov2, 2), state(mocov2, 3)
    for name in ('conv1.weight', 'layer4.1.conv2.weight'):
        expected = torch.lerp(before[f'encoder_k.module.0.{name}'], before[f'backbone.{name}'], 0.001)
        torch.testing.assert_close(after[f'encoder_k.module.0.{name}'], expected)
        assert not torch.equal(after[f'encoder_k.module.0.{name}'], before[f'encoder_k.module.0.{name}'])
    norms = after['queue'].norm(dim=0)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    assert after['queue_ptr'].item() == 12


def test_predictor_of_simsiam_keeps_its_rate(roots, tmp_path):
    """Doubled by --auto-scale-lr like all rates, but not lowered by the schedule."""
    cfg = small_config(
        'simsiam_r18_in1k',
        roots,
        **{
            'auto_scale_lr.enable': True,
            'auto_scale_lr.base_batch_size': 2,
            'param_scheduler.T_max': 4,
            'param_scheduler.end': 4,
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
        },
    )
    runner = run_config(cfg, tmp_path, written=[2])
    stored = torch.load(tmp_path / 'iter_2.pth', weights_only=True)['optimizer']['param_groups']
    rates = {group.get('fix_lr', False): group['lr'] for group in stored}
    assert sum(group.get('fix_lr', False) for group in stored) == 5
    history = runner.message_hub.get_scalar('train/lr').data[0]
    assert history[0] == pytest.approx(0.1)
    assert history[1] == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[False] == pytest.approx(0.1 * (1 + math.cos(math.pi / 2)) / 2)
    # The schedule has stepped since the last iteration; the hook undoes that before the next one.
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'FixedRateHook')
    hook.before_train_iter(runner, 2)
    assert {group['lr'] for group in runner.optim_wrapper.param_groups if group.get('fix_lr')} == {0.1}


def fixed_rates(runner):
    """Rates of the marked groups as the next iteration would have them."""
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'FixedRateHook')
    hook.before_train_iter(runner, runner.iter)
    return {group['lr'] for group in runner.optim_wrapper.param_groups if group.get('fix_lr')}


def test_fixed_rate_without_a_schedule_and_after_a_resume(roots, tmp_path):
    """0.05 from the config times 4 / 2 images, whether the run before had a schedule or this one has."""
    cfg = small_config(
        'simsiam_r18_in1k',
        roots,
        **{
            'auto_scale_lr.enable': True,
            'auto_scale_lr.base_batch_size': 2,
            'param_scheduler.T_max': 4,
            'param_scheduler.end': 4,
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
        },
    )
    plain = Config(cfg.to_dict())
    plain.param_scheduler = None
    assert fixed_rates(run_config(cfg, tmp_path / 'scheduled', written=[1])) == {0.1}
    assert fixed_rates(run_config(plain, tmp_path / 'plain', written=[1])) == {0.1}
    for one, other in product((cfg, plain), ('scheduled', 'plain')):
        resumed = run_config(one, tmp_path / f'after_{other}', tmp_path / other / 'iter_1.pth', written=[])
        assert fixed_rates(resumed) == {0.1}


def test_fixed_rate_without_a_marked_parameter_is_refused(roots, tmp_path):
    cfg = small_config('simsiam_r18_in1k', roots, **{'optim_wrapper.paramwise_cfg': None})
    with pytest.raises(ValueError, match='no parameter is marked fix_lr'):
        run_config(cfg, tmp_path)


def test_a_batch_that_does_not_fit_the_queue_is_refused():
    cfg = load_config(CONFIGS / 'pretrain' / 'mocov2_r18_in1k.py')
    check_queue(cfg, 8)
    with pytest.raises(ValueError, match=r'queue_len=65536 and 32 images x 3 processes = 96\. Change'):
        check_queue(cfg, 3)
    derived = type('Derived', (MODELS.get('mmpretrain.MoCo'),), {})
    MODELS.register_module(name='DerivedMoCo', module=derived, force=True)
    cfg.model.type = 'DerivedMoCo'
    with pytest.raises(ValueError, match='DerivedMoCo needs a queue'):
        check_queue(cfg, 3)
    check_queue(load_config(CONFIGS / 'pretrain' / 'simsiam_r18_in1k.py'), 3)
    check_queue(load_config(CONFIGS / 'stt_r18_ytv.py'), 3)


def test_a_batch_of_images_that_does_not_fit_the_queue_of_the_branch_is_refused():
    """The images of joint training have a loader of their own; the number of clips does not matter."""
    cfg = load_config(CONFIGS / 'continual' / 'joint_r18_ytv.py', {'train_dataloader.batch_size': 7})
    check_queue(cfg, 4)
    with pytest.raises(
        ValueError,
        match=r'^mmpretrain\.MoCo needs .*queue_len=65536 and 64 images x 3 processes = 192'
        r'\. Change train_cfg\.image_dataloader\.batch_size or '
        r'model\.image_branch\.queue_len',
    ):
        check_queue(cfg, 3)
    cfg.model.image_branch.type = 'DetCo'
    check_queue(cfg, 3)


# Watching


def test_watched_features_are_those_of_the_converted_checkpoint(mocov2, tmp_path):
    """Invariant: the same weights under another geometry, bit by bit, and not a copy of them."""
    loop, trained = mocov2.val_loop, mocov2.model.backbone
    assert {p.data_ptr() for p in loop.model.backbone.parameters()} <= {p.data_ptr() for p in trained.parameters()}
    source = Path(mocov2.work_dir) / 'iter_4.pth'
    done = subprocess.run(
        [sys.executable, TOOLS / 'convert_checkpoint.py', source, tmp_path / 'stage1.pth', '--depth', '18'],
        text=True,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert 'source: mmpretrain; ResNet-18: matched 100, missing 0, unexpected 0' in done.stdout
    init_default_scope('stt_mm')
    model = MODELS.build(
        load_config(CONFIGS / 'eval' / 'davis_spatial_r18_rgb.py', {'model.propagator.protocol.short_side': 48}).model
    ).eval()
    load_backbone(model.backbone, tmp_path / 'stage1.pth')
    image = torch.randint(0, 256, (48, 80, 3), dtype=torch.uint8).numpy()
    expected, found = model.feature(image), loop.model.eval().feature(image)
    assert expected.shape == (256, 6, 10)
    assert torch.equal(expected, found)
    assert loop.model.protocol == model.protocol
    with torch.no_grad():
        trained.conv1.weight.mul_(1.5)
    assert not torch.equal(loop.model.feature(image), expected)
    with torch.no_grad():
        trained.conv1.weight.div_(1.5)


def test_hooks_see_each_batch_and_what_was_predicted(mocov2, monkeypatch):
    loop, calls = mocov2.val_loop, []
    outputs, batch = [object()], [dict(inputs=1)]
    monkeypatch.setattr(loop.runner, 'call_hook', lambda name, **given: calls.append((name, given)))
    monkeypatch.setattr(loop.model, 'val_step', lambda data: outputs if data is batch else None)
    monkeypatch.setattr(loop.evaluator, 'process', lambda **given: calls.append(('process', given)))
    loop.run_iter(3, batch)
    assert calls == [
        ('before_val_iter', dict(batch_idx=3, data_batch=batch)),
        ('process', dict(data_samples=outputs, data_batch=batch)),
        ('after_val_iter', dict(batch_idx=3, data_batch=batch, outputs=outputs)),
    ]


def test_score_is_logged_with_its_protocol(mocov2):
    lines = next(Path(mocov2.work_dir).glob('*/vis_data/scalars.json')).read_text().splitlines()
    scores = [json.loads(line) for line in lines if 'J&F-Mean' in line]
    assert [score['step'] for score in scores] == [2, 4]
    log = next(Path(mocov2.work_dir).glob('*/*.log')).read_text()
    assert len(re.findall(r'davis, protocol stt_davis_s8, version 1: 2 videos', log)) == 2


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'val_cfg.model.backbone.depth': 50}, r'first layer1\.0\.conv1\.weight\. Set val_cfg\.model\.backbone\.depth'),
        (
            {
                'model.backbone.out_indices': (1,),
                'model.backbone.num_stages': 2,
                'model.backbone.strides': (1, 2),
                'model.backbone.dilations': (1, 1),
                'model.neck.in_channels': 128,
            },
            r'first layer3\.0\.conv1\.weight',
        ),
    ],
)
def test_a_network_that_cannot_be_watched_is_refused(changes, message, roots, tmp_path):
    cfg = small_config('mocov2_r18_in1k', roots, **changes)
    with pytest.raises(ValueError, match=message):
        run_config(cfg, tmp_path)


def test_a_model_without_backbone_cannot_be_watched(roots, tmp_path):
    cfg = small_config('mocov2_r18_in1k', roots)
    cfg.work_dir = str(tmp_path)
    runner = Runner.from_cfg(Config(cfg.to_dict()))
    runner.model = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match='Linear has none'):
        runner.val_loop  # noqa: B018 built on access


# Stage 2


@pytest.mark.parametrize('converted', [False, True])
def test_student_and_teacher_start_from_stage_1(mocov2, tmp_path, converted, capfd):
    """All names fit, and the teacher's features are those of the trained backbone, which has its geometry."""
    source = Path(mocov2.work_dir) / 'iter_4.pth'
    weights, name, _ = backbone_state_dict(read_checkpoint(source))
    assert name == 'mmpretrain'
    assert len(weights) == 120  # 100 and 20 counters of BatchNorm
    if converted:
        torch.save(
            dict(state_dict={f'backbone.{key}': value for key, value in weights.items()}), tmp_path / 'stage1.pth'
        )
        source = tmp_path / 'stage1.pth'
    init_default_scope('stt_mm')
    model = MODELS.build(
        load_config(
            CONFIGS / 'stt_r18_ytv.py',
            {
                'model.backbone.init_cfg.checkpoint': str(source),
                'model.teacher.backbone.init_cfg.checkpoint': str(source),
            },
        ).model
    )
    model.init_weights()
    assert capfd.readouterr().out.count('matched 100 (100.0%), missing 0, mismatched 0, unexpected 0, unused 0') == 2
    trained = copy.deepcopy(mocov2.model.backbone)
    trained.load_state_dict(weights)
    # mmpretrain's networks return nothing from eval().
    trained.eval()
    frames = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.teacher(frames), trained(frames)[0])
    for name, value in trained.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
