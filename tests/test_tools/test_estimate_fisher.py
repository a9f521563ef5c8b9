import hashlib
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from continual_data import make_data, moco, small
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from torch import nn
from torch.testing import assert_close
from torch.utils.data import Dataset

from stt_mm.datasets import TrainSampler, VideoDataset
from stt_mm.registry import DATASETS, MODELS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'estimate_fisher.py'
ENV = dict(os.environ, PYTHONPATH=os.pathsep.join((str(ROOT), str(ROOT / 'tests'))), OMP_NUM_THREADS='1')
spec = importlib.util.spec_from_file_location('estimate_fisher', TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
init_default_scope('stt_mm')

CONFIG = """
default_scope = 'stt_mm'
model = dict(type='LinearWorldModel', backbone=dict())
train_dataloader = dict(dataset=dict(type='LinearWorld'))
"""
SIGNS = list(product((-1, 1), repeat=4))


@DATASETS.register_module(force=True)
class LinearWorld(Dataset):
    """x = (+-1, +-2, +-3) and y = w x +- 1, all equally likely: the Fisher information of w is diag(1, 4, 9)."""

    def __len__(self):
        return len(SIGNS)

    def __getitem__(self, index):
        x = torch.tensor(SIGNS[index][:3]) * torch.tensor([1.0, 2.0, 3.0])
        return dict(inputs=x, noise=torch.tensor(float(SIGNS[index][3])))


@MODELS.register_module(force=True)
class LinearWorldModel(BaseModel):
    """Its loss is a negative log likelihood up to a constant; ``idle`` has no part in it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = nn.ModuleDict(dict(used=nn.Linear(3, 1, bias=False), idle=nn.Linear(2, 1)))

    def forward(self, inputs, noise, mode='tensor'):
        rest = self.backbone['used'](inputs).squeeze(1)
        return dict(loss=(rest - rest.detach() - noise).square().mean() / 2)


@pytest.fixture
def world(tmp_path):
    """Config and checkpoint of the linear world."""
    (tmp_path / 'world.py').write_text(CONFIG)
    torch.manual_seed(0)
    torch.save(dict(state_dict=LinearWorldModel({}).state_dict()), tmp_path / 'world.pth')
    return [str(tmp_path / 'world.py'), str(tmp_path / 'world.pth'), '--num-workers', '0']


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Config and checkpoint of a small MoCo on small images."""
    make_data(tmp_path / 'data')
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    small('pretrain/mocov2_r18_in1k').dump(tmp_path / 'moco.py')
    model = moco()
    # The key encoder is another network than the query encoder, as in training, with running statistics of its own.
    for value in model.encoder_k.module.parameters():
        value.data += 0.02 * torch.randn(value.shape)
    for name, value in model.encoder_k.module.named_buffers():
        if name.endswith('running_var'):
            value += torch.rand(value.shape)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'moco.pth')
    return [str(tmp_path / 'moco.py'), str(tmp_path / 'moco.pth'), '--num-workers', '0']


def run(arguments, out, *more):
    tool.main([*arguments, '--out', str(out), *map(str, more)])
    return torch.load(out, weights_only=True)


def test_linear_model_has_its_analytic_fisher_information(world, tmp_path):
    """16 samples are one pass over all that can happen."""
    found = run(world, tmp_path / 'f.pth', '--samples', 16)
    assert_close(found['fisher']['used.weight'], torch.tensor([[1.0, 4.0, 9.0]]))
    assert not found['fisher']['idle.weight'].any()
    assert not found['fisher']['idle.bias'].any()
    weights = torch.load(tmp_path / 'world.pth', weights_only=True)['state_dict']
    assert all(torch.equal(value, weights[f'backbone.{name}']) for name, value in found['reference'].items())
    assert found['meta']['samples'] == 16
    assert not list(tmp_path.glob('*.part*'))


def test_a_file_says_how_it_came_about(world, tmp_path, capsys):
    meta = run(world, tmp_path / 'f.pth', '--samples', 5, '--seed', 3)['meta']
    assert re.fullmatch('[0-9a-f]{8}', meta.pop('config_sha8'))
    assert meta == dict(
        config='world.py',
        checkpoint_sha8=tool.sha8(world[1]),
        samples=5,
        seed=3,
        processes=1,
        stt_mm_version=tool.__version__,
    )
    out = capsys.readouterr()
    assert out.out.startswith(f'wrote {tmp_path}/f.pth (0.0 MiB): 3 parameters, trace ')
    assert '2 without information' in out.out
    assert ' 5/5 ' in out.err


def test_the_sums_of_all_processes_meet(monkeypatch):
    calls = []
    monkeypatch.setattr(tool.dist, 'init_process_group', calls.append)
    monkeypatch.setattr(tool.dist, 'all_reduce', lambda value: value.mul_(3))
    values = dict(a=torch.ones(2), b=torch.full((1,), 2.0))
    assert {name: value.tolist() for name, value in tool.reduce_sums(values, 1)} == dict(a=[1, 1], b=[2])
    assert calls == []
    for cuda, backend in ((False, 'gloo'), (True, 'nccl')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda cuda=cuda: cuda)
        sums = {name: value.tolist() for name, value in tool.reduce_sums(values, 2)}
        assert calls.pop() == backend
    assert sums == dict(a=[9, 9], b=[18])


@pytest.mark.parametrize('rank', [0, 1])
def test_one_of_two_processes(world, tmp_path, monkeypatch, capsys, rank):
    """The other has the same sums; the first writes and has a bar, both leave together."""
    calls = []
    monkeypatch.setenv('RANK', str(rank))
    monkeypatch.setenv('WORLD_SIZE', '2')
    for name in ('init_process_group', 'barrier', 'destroy_process_group'):
        monkeypatch.setattr(tool.dist, name, lambda *args, name=name: calls.append(name))
    monkeypatch.setattr(tool.dist, 'all_reduce', lambda value: value.mul_(2))
    tool.main([*world, '--samples', '16', '--out', str(tmp_path / 'f.pth')])
    assert calls == ['init_process_group', 'barrier', 'destroy_process_group']
    assert (tmp_path / 'f.pth').exists() == (rank == 0)
    assert ('8/8' in capsys.readouterr().err) == (rank == 0)
    assert not list(tmp_path.glob('*.part*'))
    if rank == 0:
        content = torch.load(tmp_path / 'f.pth', weights_only=True)
        assert_close(content['fisher']['used.weight'], torch.tensor([[1.0, 4.0, 9.0]]))
        assert content['meta']['processes'] == 2


def test_more_processes_than_samples(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('WORLD_SIZE', '3')
    with pytest.raises(SystemExit, match='1'):
        tool.main([*world, '--out', str(tmp_path / 'f.pth'), '--samples', '2'])
    assert '3 processes cannot share 2 samples' in capsys.readouterr().err


def test_sums_are_saved_after_the_interval(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tool.time, 'monotonic', lambda: now[0])
    partial = tool.Partial(tmp_path / 'p', {}, dict(a=torch.Size([2])))
    assert partial.values['a'].tolist() == [0, 0]
    for seconds, saved in ((59, 0), (60, 60), (119, 60), (120, 120), (121, 120)):
        now[0] = 100.0 + seconds
        partial.done = seconds
        partial.save(60)
        assert saved == (tool.read_checkpoint(partial.path)['done'] if partial.path.exists() else 0)


def test_moco_is_differentiated_by_sample_with_key_encoder_and_queue_as_they_were(images, tmp_path):
    found = run(images, tmp_path / 'f.pth', '--samples', 3)
    model = moco().eval()
    model.load_state_dict(torch.load(tmp_path / 'moco.pth', weights_only=True)['state_dict'])
    parameters = dict(model.backbone.named_parameters())
    expected = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in parameters.items()}
    cfg = small('pretrain/mocov2_r18_in1k')
    samples = tool.Samples(DATASETS.build(cfg.train_dataloader.dataset), 0, range(3))
    for number in range(3):
        views = [view[None] for view in samples[number]['inputs']]
        query_view, key_view = model.data_preprocessor(dict(inputs=views, data_samples=None), True)['inputs']
        query = F.normalize(model.neck(model.backbone(query_view))[0], dim=1)
        with torch.no_grad():
            key = F.normalize(model.encoder_k.module(key_view)[0], dim=1)
        logits = torch.cat([(query * key).sum(1, keepdim=True), query @ model.queue], 1) / 0.2
        loss = -logits.log_softmax(1)[0, 0]
        for name, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True):
            expected[name] += gradient.double() ** 2 / 3
    for name, value in expected.items():
        assert_close(found['fisher'][name].double(), value, rtol=1e-4, atol=1e-5 * float(value.max()))


def test_video_pairs_and_stages_that_are_not_run(tmp_path, monkeypatch):
    """As for temporal-then-spatial: the file fits the network of the second half and holds nothing against res5."""
    make_data(tmp_path / 'data')
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    cfg = small('temporal_then_spatial_r18_first')
    cfg.dump(tmp_path / 'temporal.py')
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'temporal.pth')
    found = run(
        [str(tmp_path / 'temporal.py'), str(tmp_path / 'temporal.pth'), '--num-workers', '0'],
        tmp_path / 'f.pth',
        '--samples',
        2,
    )
    informed = {name for name, value in found['fisher'].items() if value.any()}
    assert informed >= {'conv1.weight', 'layer3.1.bn2.weight'}
    assert not any(name.startswith('layer4') for name in informed)
    assert all((value >= 0).all() for value in found['fisher'].values())
    penalty = MODELS.build(dict(type='EWCPenalty', checkpoint=str(tmp_path / 'f.pth')))
    penalty.init_weights()
    network = moco().backbone
    for name, value in found['reference'].items():
        network.get_parameter(name).data.copy_(value)
    assert penalty.loss(network)['loss_ewc'] == 0
    network.layer4[0].conv1.weight.data += 1
    assert penalty.loss(network)['loss_ewc'] == 0


def test_penalties_and_the_teachers_own_checkpoint_are_left_out(tmp_path, monkeypatch):
    """The reference of a continued task has the plain loss; the backbone comes from the checkpoint alone."""
    make_data(tmp_path / 'data')
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    cfg = small('stt_r18_ytv_ewc')
    model = MODELS.build(dict(cfg.model, penalty=None))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'ewc.pth')
    built = tool.build_model(cfg, str(tmp_path / 'ewc.pth'))
    assert built.penalty is None
    assert not built.training
    # A sample is seen alike by whichever process has it.
    assert built.data_preprocessor.rank_shared
    assert torch.equal(built.backbone.conv1.weight, model.backbone.conv1.weight)


def test_an_interrupted_run_goes_on(images, tmp_path, monkeypatch, capsys):
    whole = run(images, tmp_path / 'whole.pth', '--samples', 5)
    seen, inner = [], tool.Samples.__getitem__

    def counted(self, number):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(self.keys[number])
        return inner(self, number)

    monkeypatch.setattr(tool.Samples, '__getitem__', counted)
    monkeypatch.setattr(tool, 'SECONDS_BETWEEN_SAVES', 0)
    with pytest.raises(SystemExit, match='130'):
        run(images, tmp_path / 'f.pth', '--samples', 5)
    first, seen[:] = list(seen), []
    capsys.readouterr()
    found = run(images, tmp_path / 'f.pth', '--samples', 5)
    assert len(first) == 3
    assert len(seen) == 2
    assert ' 5/5 ' in capsys.readouterr().err, 'the bar begins where the first run ended'
    assert not set(first) & set(seen)
    assert all(torch.equal(found['fisher'][name], value) for name, value in whole['fisher'].items())


def test_a_begun_file_of_other_settings_is_refused(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool, 'write', lambda *_: sys.exit(3))
    with pytest.raises(SystemExit):
        run(world, tmp_path / 'f.pth', '--samples', 4)
    with pytest.raises(SystemExit):
        run(world, tmp_path / 'f.pth', '--samples', 5, '--seed', 1)
    assert 'f.pth.part0 is no unfinished estimate, or one of other settings (samples, seed)' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ([], 'f.pth exists. Name another file or add --overwrite'),
        (['--overwrite', '--cfg-options', 'train_dataloader=None'], 'is no training config'),
    ],
)
def test_one_line_for_what_cannot_work(world, tmp_path, capsys, more, message):
    (tmp_path / 'f.pth').touch()
    with pytest.raises(SystemExit):
        run(world, tmp_path / 'f.pth', *more)
    assert message in capsys.readouterr().err


def test_a_checkpoint_without_the_head_is_refused(images, tmp_path, capsys):
    weights = torch.load(tmp_path / 'moco.pth', weights_only=True)['state_dict']
    torch.save(
        dict(state_dict={name: value for name, value in weights.items() if name.startswith('backbone')}),
        tmp_path / 'moco.pth',
    )
    with pytest.raises(SystemExit):
        run(images, tmp_path / 'f.pth')
    # Queue and pointer, 4 of the head, and of the key encoder 100 of the backbone, 4 of the head and a counter.
    assert 'moco.pth lacks 111 weights' in capsys.readouterr().err


def fails(capsys, arguments, out, *more):
    with pytest.raises(SystemExit):
        run(arguments, out, *more)
    error = capsys.readouterr().err
    assert not out.exists()
    return error[error.index('error:') :]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_and_gradients_that_are_not_finite_are_refused(value, world, tmp_path, capsys, monkeypatch):
    content = torch.load(tmp_path / 'world.pth')
    content['state_dict']['backbone.idle.weight'][0, 1] = value
    torch.save(content, tmp_path / 'bad.pth')
    error = fails(capsys, [world[0], str(tmp_path / 'bad.pth'), *world[2:]], tmp_path / 'f.pth')
    assert 'bad.pth: backbone.idle.weight holds 1 of 2 values that are infinite or not a number' in error
    item = LinearWorld.__getitem__

    def third(self, index):
        sample = item(self, index)
        return dict(sample, inputs=sample['inputs'] * (value if index == 3 else 1))

    monkeypatch.setattr(LinearWorld, '__getitem__', third)
    assert 'has a gradient that is infinite or not a number' in fails(capsys, world, tmp_path / 'f.pth')


@pytest.mark.parametrize(
    'content',
    [
        [1, 2],
        dict(state_dict={}),
        b'text',
        dict(settings=dict(samples=1)),
    ],
)
def test_a_part_that_is_another_file_is_named(content, world, tmp_path, capsys):
    part = tmp_path / 'f.pth.part0'
    if isinstance(content, bytes):
        part.write_bytes(content)
    else:
        torch.save(content, part)
    error = fails(capsys, world, tmp_path / 'f.pth')
    assert re.search(r'f\.pth\.part0 .*(no unfinished estimate|corrupt)', error)
    assert len(error.splitlines()) == 1


def test_another_geometry_than_that_of_the_training_is_refused(world, tmp_path, capsys, monkeypatch):
    content = torch.load(tmp_path / 'world.pth')
    torch.save(dict(content, meta=dict(geometry=dict(network='Linear', strides=[1, 2]))), tmp_path / 'other.pth')
    monkeypatch.setattr(LinearWorldModel, 'geometry', dict(network='Linear', strides=[1, 1]), raising=False)
    error = fails(capsys, [world[0], str(tmp_path / 'other.pth'), *world[2:]], tmp_path / 'f.pth')
    assert 'They differ in strides' in error


@pytest.mark.slow
def test_two_processes_give_what_one_gives(images, tmp_path):
    """Five samples: one process has three of them, the other two."""
    one = run(images, tmp_path / 'one.pth', '--samples', 5)
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc-per-node=2',
        str(TOOL),
        *images,
        '--out',
        str(tmp_path / 'two.pth'),
        '--samples',
        '5',
    ]
    result = subprocess.run(command, env=ENV, timeout=180, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    two = torch.load(tmp_path / 'two.pth', weights_only=True)
    assert two['meta']['processes'] == 2
    assert not list(tmp_path.glob('*.part*'))
    for name, value in one['fisher'].items():
        assert_close(two['fisher'][name], value, rtol=1e-6, atol=0)


@pytest.mark.slow
def test_a_killed_run_goes_on(images, tmp_path):
    whole = run(images, tmp_path / 'whole.pth', '--samples', 12)
    script = f'import sys; sys.path.insert(0, {str(TOOL.parent)!r}); import estimate_fisher as tool; '
    script += 'tool.SECONDS_BETWEEN_SAVES = 0; tool.main()'
    command = [sys.executable, '-c', script, *images, '--out', str(tmp_path / 'f.pth'), '--samples', '12']
    process = subprocess.Popen(command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = tmp_path / 'f.pth.part0'
    deadline = time.monotonic() + 120
    while not part.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = torch.load(part, weights_only=True)['done']
    assert 0 < done < 12
    found = run(images, tmp_path / 'f.pth', '--samples', 12)
    assert all(torch.equal(found['fisher'][name], value) for name, value in whole['fisher'].items())


class TiltedModel(LinearWorldModel):
    """What is drawn by seed and iteration, as the dropped channels are, decides the loss."""

    def forward(self, inputs, noise, mode='tensor'):
        info = MessageHub.get_current_instance().runtime_info
        return dict(loss=self.backbone['used'](inputs).sum() * (100 * info['seed'] + info['iter']))


def test_draws_of_the_model_follow_seed_and_position():
    gradients = tool.gradient_function(TiltedModel({}), 7)
    batch = dict(inputs=torch.ones(1, 3), noise=torch.zeros(1))
    for position in (0, 5):
        assert gradients(batch, position)['used.weight'].tolist() == [[700.0 + position] * 3]


def test_samples_are_those_of_the_stream_and_their_draws_follow_the_position(monkeypatch):
    """Three of seven samples, as the second of two processes has them; each may be asked for alone."""

    class Draws(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return index, random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    stream = list(islice(TrainSampler(Draws(), seed=3), 7))
    samples = tool.Samples(Draws(), 3, range(1, 7, 2))
    assert samples.keys == [stream[1], stream[3], stream[5]]
    assert {seed for _, _, seed in samples.keys} == {3}
    assert len(samples) == 3
    for number in (2, 0, 1):
        index, draw, _ = samples.keys[number]
        expected = (
            index,
            random.Random(3 + draw).random(),
            np.random.RandomState(3 + draw).rand(),
            float(torch.rand((), generator=torch.Generator().manual_seed(3 + draw))),
        )
        assert samples[number] == expected
    asked = []

    class Clips(VideoDataset):
        def __init__(self):
            pass

        def __len__(self):
            return 5

        def __getitem__(self, key):
            asked.append(key)

        def load_videos(self):
            raise AssertionError

    assert tool.Samples(Clips(), 3, range(1, 7, 2))[1] is None
    assert asked == [stream[3]]


def test_an_interrupted_run_of_weights_without_information_goes_on(world, tmp_path, monkeypatch):
    """Left-overs of a kill go; sums of 0 are no damage; the scope of the config is set."""
    whole = run(world, tmp_path / 'whole.pth', '--samples', 16)
    (tmp_path / '.f.pth.part0.abcdefgh.tmp').touch()
    with monkeypatch.context() as patch:
        patch.setattr(tool, 'write', lambda *_: sys.exit(3))
        with pytest.raises(SystemExit):
            run(world, tmp_path / 'f.pth', '--samples', 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['f.pth.part0', 'whole.pth', 'world.pth', 'world.py']
    init_default_scope('mmengine')
    found = run(world, tmp_path / 'f.pth', '--samples', 16)
    assert torch.equal(found['fisher']['used.weight'], whole['fisher']['used.weight'])
    assert not any(value.requires_grad for value in found['reference'].values())
    run(world, tmp_path / 'f.pth', '--samples', 1, '--overwrite')
    assert torch.load(tmp_path / 'f.pth', weights_only=True)['meta']['samples'] == 1


def test_settings_do_not_depend_on_the_order_of_a_config(world):
    args = tool.parse_args([*world, '--out', 'f', '--samples', '5', '--seed', '7'])

    def settings(model):
        return tool.settings_of(
            args, Config(dict(model=model, train_dataloader=dict(dataset=dict(root=Path('r')))), filename=world[0]), 2
        )

    one = settings(dict(a=1, b=2))
    assert settings(dict(b=2, a=1)) == one
    assert settings(dict(a=1, b=3)) != one
    assert one.pop('config_sha8') == hashlib.sha256(b'[{"a": 1, "b": 2}, {"root": "r"}]').hexdigest()[:8]
    assert one == dict(
        config='world.py',
        checkpoint_sha8=tool.sha8(world[1]),
        samples=5,
        seed=7,
        processes=2,
    )


def test_what_is_left_is_loaded_as_asked(world, tmp_path, monkeypatch):
    """The sums go to the device of the model; here to one that holds no values."""
    made = []
    monkeypatch.setattr(tool, 'DataLoader', lambda dataset, **options: made.append((dataset, options)) or [])
    args = tool.parse_args([*world, '--out', 'f', '--samples', '8', '--num-workers', '5', '--seed', '2'])
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='LinearWorld'))))
    partial = tool.Partial(tmp_path / 'p', {}, dict(a=torch.Size([2])))
    partial.done = 2
    saved = []
    monkeypatch.setattr(partial, 'save', lambda: saved.append(partial.values['a'].device.type))
    tool.accumulate(args, cfg, LinearWorldModel({}).to('meta'), partial, 1, 2)
    ((dataset, options),) = made
    assert options == dict(batch_size=1, num_workers=5, collate_fn=tool.default_collate)
    stream = list(islice(TrainSampler(LinearWorld(), seed=2), 12))
    assert dataset.keys == [stream[position] for position in (5, 7)]
    assert saved == ['meta']


@pytest.mark.parametrize('rank', [None, '3'])
def test_each_process_has_its_gpu(world, tmp_path, monkeypatch, rank):
    chosen = []
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    if rank:
        monkeypatch.setenv('LOCAL_RANK', rank)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: chosen.append(device) or sys.exit(5))
    with pytest.raises(SystemExit, match='5'):
        run(world, tmp_path / 'f.pth')
    assert chosen == [int(rank or 0)]


def test_a_config_without_a_model_is_none_of_a_training(world, tmp_path, capsys):
    (tmp_path / 'world.py').write_text(CONFIG.replace('model =', '_network ='))
    assert 'no model or no train_dataloader' in fails(capsys, world, tmp_path / 'f.pth')


def test_a_model_is_as_it_was_after_each_gradient():
    """Buffers that the loss changes are put back, and parameters without a part in it have no gradient."""

    class Counting(LinearWorldModel):
        def __init__(self, backbone):
            super().__init__(backbone)
            self.register_buffer('calls', torch.zeros(()))
            self.register_buffer('same', torch.ones(()))
            self.backbone['idle'].bias.requires_grad_(False)

        def forward(self, inputs, noise, mode='tensor'):
            self.calls += 1
            assert mode == 'loss'
            return super().forward(inputs, noise) | dict(rest=self.calls)

    model = Counting({})
    same = model.same._version
    gradients = tool.gradient_function(model, 0)
    batch = dict(inputs=torch.tensor([[1.0, 2.0, 3.0]]), noise=torch.ones(1))
    for position in range(2):
        found = gradients(batch, position)
        assert found['used.weight'].tolist() == [[-1, -2, -3]]
        assert (found['idle.weight'], found['idle.bias']) == (None, None)
        assert list(found) == ['used.weight', 'idle.weight', 'idle.bias']
        assert model.calls == 0
    assert model.same._version == same
