"""Stage 1 by the command line: two processes, a stop and a resume, and on to stage 2."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pretrain_runs import make_images, make_trees
from tiny_data import make_youtube_vos

ROOT = Path(__file__).parents[1]
ENV = dict(
    os.environ, OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', PYTHON=sys.executable, PYTHONPATH=str(ROOT / 'tests')
)
SIZE = 'train_dataloader.dataset.pipeline.1.transforms.0.transforms.0.0.scale=32'
# DetCo's local views: nine patches of 32 x 32.
LOCAL = [
    'train_dataloader.dataset.pipeline.1.transforms.0.transforms.1.0.scale=96',
    'train_dataloader.dataset.pipeline.1.transforms.0.transforms.1.5.patch_size=32',
]
SMALL = [
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=1',
    SIZE,
    'model.queue_len=64',
    'val_cfg.model.propagator.protocol.short_side=48',
    'val_dataloader.num_workers=0',
    'default_hooks.logger.interval=1',
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    options = make_trees(tmp_path_factory.mktemp('data'))
    return [f'{key}={value}' for key, value in options.items()]


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


def train(config, work_dir, options, *flags):
    return [
        sys.executable,
        'tools/train.py',
        f'configs/{config}.py',
        '--work-dir',
        str(work_dir),
        *flags,
        '--cfg-options',
        *options,
    ]


def losses(work_dir, key='loss'):
    lines = [
        json.loads(line)
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return {line['iter']: line[key] for line in lines if key in line}


@pytest.mark.parametrize(('name', 'number'), [('mocov2_r18_in1k', 1), ('densecl_r18_in1k', 2), ('detco_r18_in1k', 8)])
def test_queues_are_the_same_on_two_processes(name, number, roots, tmp_path):
    """Each process sees other images; all keys end up in both queues, and the networks stay equal."""
    config = tmp_path / 'dumping.py'
    config.write_text(
        f"_base_ = '{ROOT}/configs/pretrain/{name}.py'\ncustom_imports = dict(imports=['rank_dump'])\n"
        f"custom_hooks = [dict(type='RankDumpHook', folder='{tmp_path}/ranks')]\n"
    )
    out = run(
        'bash',
        'tools/dist_train.sh',
        config,
        2,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        *roots,
        *SMALL,
        *(LOCAL if 'detco' in name else []),
        'train_cfg.max_iters=3',
        'train_cfg.val_interval=3',
    )
    assert '2 processes on the CPU with gloo' in out
    assert 'J&F-Mean' in out
    first, second = (torch.load(tmp_path / 'ranks' / f'rank{rank}.pt', weights_only=True) for rank in (0, 1))
    assert [len(paths) for paths in first['paths']] == [4, 4, 4]
    assert not set(first['paths'][0]) & set(second['paths'][0])
    # The statistics of BatchNorm too, since the validation after the last iteration.
    assert [key for key in first['state'] if not torch.equal(first['state'][key], second['state'][key])] == []
    # queue and queue_ptr, queue2 and queue2_ptr; DetCo's queues.global_res2.queue and its .pointer.
    queues = [key for key in first['state'] if key.startswith('queue') and not key.endswith(('ptr', 'pointer'))]
    assert len(queues) == number
    stored = torch.load(tmp_path / 'work' / 'iter_3.pth', weights_only=True)
    assert len(stored['random_states']) == 2
    for key in queues:
        pointer = key.replace('.queue', '.pointer') if '.' in key else f'{key}_ptr'
        assert first['state'][pointer].item() == 24
        assert torch.equal(stored['state_dict'][key], second['state'][key])
        norms = first['state'][key].norm(dim=0)
        torch.testing.assert_close(norms, torch.ones_like(norms))


def test_simsiam_in_two_processes_needs_no_synchronised_batchnorm_on_the_cpu(roots, tmp_path):
    small = [option for option in SMALL if 'queue_len' not in option]
    out = run(
        'bash',
        'tools/dist_train.sh',
        'configs/pretrain/simsiam_r18_in1k.py',
        2,
        '--work-dir',
        tmp_path,
        '--auto-scale-lr',
        '--amp',
        '--no-validate',
        '--cfg-options',
        *roots,
        *small,
        'train_cfg.max_iters=2',
    )
    assert 'without SyncBN' in out
    groups = torch.load(tmp_path / 'iter_2.pth', weights_only=True)['optimizer']['param_groups']
    # 0.05 x (2 x 4) / 256 for all, whatever --auto-scale-lr made of it.
    assert {group['initial_lr'] for group in groups} == {0.05 * 8 / 256}


def test_a_stopped_training_ends_with_the_same_weights(roots, tmp_path):
    options = [*roots, *SMALL, 'train_cfg.max_iters=8', 'train_cfg.val_interval=4']
    run(*train('pretrain/mocov2_r18_in1k', tmp_path / 'straight', options, '--seed', '3'))
    command = train('pretrain/mocov2_r18_in1k', tmp_path / 'stopped', options, '--seed', '3', '--resume', 'auto')
    process = subprocess.Popen(command, env=ENV, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    for line in process.stdout:
        assert time.monotonic() < deadline
        if 'Iter(train) [3/8]' in line:
            break
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=100)[0]
    assert process.returncode == 143, out
    assert 'Continue with --resume auto' in out
    assert not (tmp_path / 'stopped' / 'iter_8.pth').exists()
    run(*command)
    straight, resumed = (
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=True) for name in ('straight', 'stopped')
    )
    assert all(torch.equal(value, resumed['state_dict'][name]) for name, value in straight['state_dict'].items())
    assert losses(tmp_path / 'straight') == losses(tmp_path / 'stopped')
    assert len(losses(tmp_path / 'straight')) == 8


def test_a_batch_that_the_queue_cannot_take_and_a_broken_image_end_in_one_line(roots, tmp_path):
    out = run(*train('pretrain/mocov2_r18_in1k', tmp_path, [*roots, *SMALL, 'model.queue_len=63']), expect=1)
    assert [line for line in out.splitlines() if line.startswith('error: ')] == [
        'error: mmpretrain.MoCo needs a queue that is a multiple of the total batch, got queue_len=63 and 4 images x 1 '
        'processes = 4. Change train_dataloader.batch_size or model.queue_len, such as to a power of two.'
    ]
    for path in make_images(tmp_path / 'broken').rglob('*.jpg'):
        path.write_bytes(path.read_bytes()[:-100])
    out = run(
        *train(
            'pretrain/mocov2_r18_in1k',
            tmp_path,
            [*roots, *SMALL, f'train_dataloader.dataset.data_root={tmp_path}/broken'],
        ),
        expect=1,
    )
    errors = [line for line in out.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert 'cannot be used: it is cut off or damaged' in errors[0]


def test_three_commands_from_frames_to_stage_2(roots, tmp_path):
    """MoCo v2 on the frames of videos, conversion, the temporal stage with that student and teacher."""
    make_youtube_vos(tmp_path / 'YouTubeVOS')
    frames = f'train_dataloader.dataset.data_root={tmp_path}/YouTubeVOS/train/JPEGImages'
    run(
        *train(
            'pretrain/mocov2_r18_in1k',
            tmp_path / '1',
            [*roots, *SMALL, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', frames],
        )
    )
    out = run(
        sys.executable,
        'tools/convert_checkpoint.py',
        tmp_path / '1' / 'iter_2.pth',
        tmp_path / 'stage1.pth',
        '--depth',
        18,
    )
    assert 'source: mmpretrain; ResNet-18: matched 100, missing 0, unexpected 0' in out
    small = [
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=1',
        'train_cfg.max_iters=2',
        'train_dataloader.dataset.pipeline.1.size=64,64',
        'default_hooks.logger.interval=1',
        f'train_dataloader.dataset.data_root={tmp_path}/YouTubeVOS',
    ]
    found = {}
    for name in ('stage1.pth', '1/iter_2.pth'):
        work_dir = tmp_path / f'2{name[0]}'
        out = run(
            *train(
                'stt_r18_ytv',
                work_dir,
                [
                    *small,
                    f'model.backbone.init_cfg.checkpoint={tmp_path}/{name}',
                    f'model.teacher.backbone.init_cfg.checkpoint={tmp_path}/{name}',
                ],
                '--no-validate',
            )
        )
        assert out.count('matched 100 (100.0%), missing 0, mismatched 0, unexpected 0, unused 0') == 2
        found[name] = losses(work_dir, 'loss_global')
        assert len(found[name]) == 2
    # The converted file and that of training are the same start.
    assert found['stage1.pth'] == found['1/iter_2.pth']
