"""The shipped configs and tools on small trees in the official layouts, in one and in two processes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ddp_gradients import batch, build, gradients
from PIL import Image
from test_engine.toy_runs import tool
from tiny_data import make_davis, make_youtube_vos
from torch.testing import assert_close

ROOT = Path(__file__).parents[1]
ENV = dict(os.environ, OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', PYTHON=sys.executable)
SMALL = [
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=1',
    'train_dataloader.dataset.pipeline.1.size=64,64',
    'model.propagator.protocol.short_side=48',
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
]
NO_STAGE_1 = ['model.backbone.init_cfg=None', 'model.teacher.backbone.init_cfg=None']


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    """``--cfg-options`` that point the shipped configs at small trees."""
    root = tmp_path_factory.mktemp('data')
    make_youtube_vos(root / 'YouTubeVOS')
    make_davis(root / 'DAVIS', num_videos=3)
    return [
        f'train_dataloader.dataset.data_root={root}/YouTubeVOS',
        *(f'{split}_dataloader.dataset.data_root={root}/DAVIS' for split in ('val', 'test')),
    ]


def run(*command, expect=0):
    done = subprocess.run(
        [str(part) for part in command],
        env=ENV,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=400,
    )
    assert done.returncode == expect, done.stdout[-3000:]
    return done.stdout


def only_error(name, arguments, capsys):
    """The one line with which a tool ends; in this process, which has already paid for the start."""
    with pytest.raises(SystemExit) as stopped:
        tool(name).main([str(argument) for argument in arguments])
    assert stopped.value.code == 1
    said = capsys.readouterr()
    errors = [line for line in (said.out + said.err).splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert 'Traceback' not in said.out + said.err
    return errors[0]


def train(config, work_dir, options, *flags):
    return [
        sys.executable,
        'tools/train.py',
        f'configs/{config}',
        '--work-dir',
        work_dir,
        *flags,
        '--cfg-options',
        *options,
    ]


@pytest.mark.slow
def test_two_processes_train_validate_and_score_as_one(roots, tmp_path):
    out = run(
        'bash',
        'tools/dist_train.sh',
        'configs/stt_r18_ytv.py',
        2,
        '--work-dir',
        tmp_path / 'both',
        '--cfg-options',
        *roots,
        *SMALL,
        *NO_STAGE_1,
    )
    assert 'J&F-Mean' in out
    meta = torch.load(tmp_path / 'both' / 'iter_4.pth', weights_only=True)['meta']
    assert meta['iter'] == 4
    assert meta['protocol']['name'] == 'stt_davis_s8'
    scalars = next((tmp_path / 'both').glob('*/vis_data/scalars.json')).read_text().splitlines()
    assert [json.loads(line)['iter'] for line in scalars if 'loss_recon_res3' in line] == [1, 2, 3, 4]
    assert any('J&F-Mean' in line for line in scalars)
    assert list((tmp_path / 'both').glob('*/vis_data/events.out.tfevents*'))

    checkpoint, results = tmp_path / 'both' / 'iter_4.pth', {}
    for count in (1, 2):
        run(
            'bash',
            'tools/dist_test.sh',
            'configs/stt_r18_ytv.py',
            checkpoint,
            count,
            '--work-dir',
            tmp_path / f'test{count}',
            '--out',
            tmp_path / f'{count}.json',
            '--dump-masks',
            tmp_path / f'masks{count}',
            '--cfg-options',
            *roots,
            *SMALL,
        )
        results[count] = json.loads((tmp_path / f'{count}.json').read_text())
    assert results[1] == results[2]
    # What the two processes scored was the network of the file.
    assert results[1]['metrics']['J&F-Mean'] == next(
        json.loads(line)['J&F-Mean'] for line in scalars if 'J&F-Mean' in line
    )
    assert results[1]['protocol']['name'] == 'stt_davis_s8'
    assert results[1]['protocol']['short_side'] == 48
    assert results[1]['max_frames'] is None
    tables = json.loads((tmp_path / 'test2' / 'davis_results.json').read_text())
    assert tables['protocol'] == results[1]['protocol']
    for table in ('davis_per_object.csv', 'davis_per_sequence.csv'):
        one, two = (list(csv.reader((tmp_path / f'test{count}' / table).open())) for count in (1, 2))
        assert one == two
        assert len(one) > 3
    folders = [tmp_path / f'masks{count}' for count in (1, 2)]
    masks = [sorted(path.relative_to(folder) for path in folder.rglob('*.png')) for folder in folders]
    assert masks[0] == masks[1]
    assert len(masks[0]) == 15


@pytest.mark.slow
def test_averaged_gradients_are_those_of_the_joined_batch(tmp_path):
    run(
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc-per-node=2',
        'tests/ddp_gradients.py',
        tmp_path / 'gradients.pt',
    )
    averaged = torch.load(tmp_path / 'gradients.pt', weights_only=True)
    joined = gradients(build(), batch())
    assert averaged.keys() == joined.keys()
    for name, gradient in joined.items():
        scale = gradient.abs().max().item()
        assert scale > 0
        assert_close(averaged[name] / scale, gradient / scale, rtol=0, atol=2e-4)


@pytest.mark.slow
def test_temporal_only_trains_in_two_processes_without_unused_parameters(roots, tmp_path):
    out = run(
        'bash',
        'tools/dist_train.sh',
        'configs/stt/stt_r18_ytv_temporal.py',
        2,
        '--work-dir',
        tmp_path,
        '--no-validate',
        '--cfg-options',
        *roots,
        *SMALL,
    )
    assert 'loss_global' not in out
    assert (tmp_path / 'iter_4.pth').exists()


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(roots, tmp_path):
    options = [
        *roots,
        *SMALL,
        'train_cfg.max_iters=8',
        'default_hooks.checkpoint.interval=3',
        'train_dataloader.dataset.on_error=skip',
    ]
    run(*train('stt/stt_r18_ytv_temporal.py', tmp_path / 'straight', options, '--no-validate', '--seed', '3'))
    command = train('stt/stt_r18_ytv_temporal.py', tmp_path / 'killed', options, '--no-validate', '--seed', '3')
    process = subprocess.Popen(command, env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    for line in process.stdout:
        assert time.monotonic() < deadline
        if 'Iter(train) [5/8]' in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not (tmp_path / 'killed' / 'iter_6.pth').exists()
    (tmp_path / 'killed' / 'iter_4.pth').write_bytes((tmp_path / 'killed' / 'iter_3.pth').read_bytes()[:-4000])
    out = run(*command[: -len(options) - 1], '--resume', 'auto', '--cfg-options', *options)
    assert 'iter_4.pth' in out
    straight, resumed = (
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=True)['state_dict'] for name in ('straight', 'killed')
    )
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['train_dataloader.dataset.data_root=/nowhere'], '/nowhere'),
        (['model.local_head.keep_ration=0.5'], "has no argument 'keep_ration'"),
        (['model.backbone.init_cfg.checkpoint=/nowhere.pth'], '/nowhere.pth'),
        (['train_dataloade.batch_size=2'], "did you mean 'train_dataloader'"),
    ],
)
def test_a_bad_config_ends_in_one_line(roots, tmp_path, options, message, monkeypatch, capsys):
    base = [option for option in NO_STAGE_1 if option.split('.init_cfg')[0] not in options[0]]
    monkeypatch.chdir(ROOT)
    command = train('stt_r18_ytv.py', tmp_path, [*roots, *SMALL, *base, *options], '--no-validate')
    assert message in only_error('train', command[2:], capsys)


def test_a_broken_frame_stops_a_training_with_workers_in_one_line(tmp_path):
    make_youtube_vos(tmp_path / 'YouTubeVOS')
    for frame in (tmp_path / 'YouTubeVOS').rglob('*.jpg'):
        frame.write_bytes(frame.read_bytes()[:1000])
    start = time.monotonic()
    out = run(
        *train(
            'stt/stt_r18_ytv_temporal.py',
            tmp_path,
            [*SMALL, f'train_dataloader.dataset.data_root={tmp_path}/YouTubeVOS'],
            '--no-validate',
        ),
        expect=1,
    )
    assert time.monotonic() - start < 120
    errors = [line for line in out.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert 'is cut off' in errors[0]


def damaged(kind, root):
    """A small DAVIS tree with one defect."""
    make_davis(root)
    mask = root / 'Annotations' / '480p' / 'video1' / '00000.png'
    if kind == 'colours':
        Image.open(mask).convert('RGB').save(mask)
    elif kind == 'size':
        Image.open(mask).resize((50, 40), Image.NEAREST).save(mask)
    else:
        frame = root / 'JPEGImages' / '480p' / 'video1' / '00002.jpg'
        frame.write_bytes(frame.read_bytes()[:1500])


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('colours', 'video1/00000.png is an image of mode RGB'),
        ('size', r'video1/00000.png is 40x50 \(height x width\), its frame'),
        ('cut', 'video1/00002.jpg .*is cut off'),
    ],
)
def test_bad_evaluation_data_ends_in_one_line(kind, message, tmp_path, capsys):
    damaged(kind, tmp_path / 'DAVIS')
    command = [
        ROOT / 'configs/eval/davis_color.py',
        'none',
        *('--work-dir', tmp_path, '--cfg-options', 'model.propagator.protocol.short_side=48'),
        f'test_dataloader.dataset.data_root={tmp_path}/DAVIS',
    ]
    assert re.search(message, only_error('test', command, capsys))
