"""Every benchmark by the command line, in one and in two processes, interrupted and resumed."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from test_engine.toy_runs import tool
from tiny_data import (
    make_badja,
    make_davis,
    make_jhmdb,
    make_object_videos,
    make_tap_vid,
    make_vip,
    make_youtube_vos_valid,
)

ROOT = Path(__file__).parents[1]
ENV = dict(os.environ, OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', PYTHON=sys.executable)
# Config, how the tree is made, and how the input is made small.
BENCHMARKS = {
    # Without weights, which DDP refuses; test_end_to_end.py has a network.
    'davis': ('davis_color', make_davis, ['model.propagator.protocol.short_side=48']),
    'vip': ('vip_r18_s8', make_vip, ['model.propagator.protocol.size=64,64']),
    'vip_instance': ('vip_instance_r18_s8', make_vip, ['model.propagator.protocol.size=64,64']),
    'jhmdb': ('jhmdb_r18_s8', make_jhmdb, ['model.propagator.protocol.size=64,64']),
    'tap_vid': (
        'tapvid_davis_r18_s8',
        make_tap_vid,
        ['test_dataloader.dataset.size=64,64', 'test_dataloader.dataset.query_mode=strided'],
    ),
    'badja': (
        'badja_r18_s8',
        make_badja,
        ['model.propagator.protocol.size=64,64', 'test_dataloader.dataset.davis_root=None'],
    ),
    'objects': (
        'lvos_r18_s8',
        partial(make_object_videos, births=(1, 2)),
        ['model.propagator.protocol.short_side=48'],
    ),
    'ytv': (
        'ytv_r18_s8',
        partial(make_youtube_vos_valid, split='train', annotated=True),
        ['model.propagator.protocol.short_side=48', 'test_dataloader.dataset.split=train'],
    ),
}

pytestmark = pytest.mark.slow


def run(*command):
    done = subprocess.run(
        [str(part) for part in command],
        env=ENV,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def tables(folder):
    """Contents of all result files of a work directory."""
    files = sorted([*folder.glob('*_results.json'), *folder.glob('*.csv')])
    assert files
    read = {'.json': lambda path: json.loads(path.read_text()), '.csv': lambda path: list(csv.reader(path.open()))}
    return {path.name: read[path.suffix](path) for path in files}


def evaluate(config, *arguments):
    """The same in this process, which has already paid for the start."""
    with torch.random.fork_rng():
        tool('test').main([str(ROOT / f'configs/eval/{config}.py'), 'none', *map(str, arguments)])


def log_of(folder):
    """Text of the newest log below a work directory."""
    return max(folder.rglob('*.log'), key=lambda path: path.stat().st_mtime_ns).read_text()


@pytest.mark.parametrize('name', BENCHMARKS)
def test_one_and_two_processes_and_a_resumed_one_agree(name, tmp_path):
    config, make, small = BENCHMARKS[name]
    make(tmp_path / 'data', num_videos=4)
    options = [
        '--cfg-options',
        f'test_dataloader.dataset.data_root={tmp_path}/data',
        *small,
        'test_dataloader.num_workers=0',
    ]

    def dump(folder):
        return ['--dump-points' if name in ('jhmdb', 'tap_vid', 'badja') else '--dump-masks', folder / 'masks']

    def score(folder, processes, *extra):
        arguments = ['--work-dir', folder, *dump(folder), *extra, *options]
        if processes == 1:
            evaluate(config, *arguments)
        else:
            run('bash', 'tools/dist_test.sh', f'configs/eval/{config}.py', 'none', processes, *arguments)
        return log_of(folder)

    for count in (1, 2):
        score(tmp_path / str(count), count)
    one, two = tables(tmp_path / '1'), tables(tmp_path / '2')
    assert one == two
    result = one[f'{name}_results.json']
    assert result['protocol']['name'].startswith('stt_')
    assert result['global']
    assert any(file.endswith('.csv') for file in one)
    masks = [
        sorted(path.relative_to(tmp_path / count) for path in (tmp_path / count).rglob('masks/*/**/*.*'))
        for count in '12'
    ]
    assert masks[0] == masks[1]
    assert masks[0]

    # As if it had been interrupted: one video is missing, another one is half written.
    shutil.copytree(tmp_path / '1', tmp_path / 'broken')
    records = sorted((tmp_path / 'broken' / 'videos' / name).rglob('*.json'))
    assert len(records) > 2
    records[0].unlink()
    records[1].write_text(records[1].read_text()[:-20])
    stamps = {path: path.stat().st_mtime_ns for path in records[2:]}
    for path in (tmp_path / 'broken').glob('*.*'):
        path.unlink()
    # Every benchmark leaves out what is done in the same way, whatever the processes.
    assert ' left out' in score(tmp_path / 'broken', 2 if name == 'davis' else 1, '--skip-done')
    assert tables(tmp_path / 'broken') == one
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_killed_evaluation_goes_on(tmp_path):
    make_davis(tmp_path / 'data', num_videos=6)
    options = [
        '--cfg-options',
        f'test_dataloader.dataset.data_root={tmp_path}/data',
        'model.propagator.protocol.short_side=48',
        'test_dataloader.num_workers=0',
    ]
    evaluate('davis_r18_s8', '--work-dir', tmp_path / 'straight', *options)
    killed = tmp_path / 'killed'
    with (tmp_path / 'log').open('w') as log:
        process = subprocess.Popen(
            [
                sys.executable,
                'tools/test.py',
                'configs/eval/davis_r18_s8.py',
                'none',
                '--work-dir',
                str(killed),
                *options,
            ],
            env=ENV,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 200
        while len(list(killed.glob('videos/davis/*.json'))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert not (killed / 'davis_results.json').exists()
    for _ in range(2):
        # The second time nothing is left to do.
        evaluate('davis_r18_s8', '--work-dir', killed, '--skip-done', *options)
        assert tables(killed) == tables(tmp_path / 'straight')


def test_results_of_another_checkpoint_are_refused_and_a_fresh_start_removes_them(tmp_path, capsys):
    make_davis(tmp_path / 'data', num_videos=2)
    options = [
        '--cfg-options',
        f'test_dataloader.dataset.data_root={tmp_path}/data',
        'test_dataloader.num_workers=0',
        'model.propagator.protocol.short_side=48',
    ]
    command = ['davis_r18_s8', '--work-dir', tmp_path / 'wd']

    def records():
        return list((tmp_path / 'wd' / 'videos' / 'davis').iterdir())

    evaluate(*command, *options)
    with pytest.raises(SystemExit) as stopped:
        evaluate(*command, '--skip-done', *options, 'model.propagator.protocol.topk=3')
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert 'To start afresh, delete' in said
    assert 'Traceback' not in said
    assert len(records()) == 2
    # The fresh start leaves one video out: its old record must not stay beside the new one of the other.
    evaluate(*command, *options, 'model.propagator.protocol.topk=3', "test_dataloader.dataset.skip=['video1']")
    assert 'stt_davis_s8 v1 changed: short_side=48, topk=3' in log_of(tmp_path / 'wd')
    assert len(records()) == 1
