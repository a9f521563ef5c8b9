import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from test_engine.toy_project import write_config

from stt_mm.engine import from_plain
from stt_mm.utils.checkpoint import latest_checkpoint

TOOLS = Path(__file__).parents[2] / 'tools'
ENV = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1]), OMP_NUM_THREADS='1')


def train(folder, text='', resume=None, **overrides):
    """One in-process training run of the toy config."""
    cfg = Config.fromfile(write_config(folder, text))
    cfg.work_dir = str(folder / 'work')
    cfg.experiment_name = f'toy_{time.monotonic_ns()}'
    cfg.merge_from_dict(overrides)
    if resume is not None:
        cfg.resume, cfg.load_from = True, str(resume)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def start_tool(config, work_dir, *args):
    command = [sys.executable, str(TOOLS / 'train.py'), str(config), '--work-dir', str(work_dir), *args]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """An uninterrupted run of 12 iterations."""
    return train(tmp_path_factory.mktemp('straight'))


def test_every_written_file_is_plain(straight):
    files = sorted(Path(straight.work_dir).glob('*.pth'))
    assert [file.name for file in files] == ['iter_12.pth', 'iter_8.pth']
    for file in files:
        checkpoint = torch.load(file, weights_only=True)
        assert checkpoint.keys() >= {'optimizer', 'param_schedulers', 'message_hub', 'random_states', 'meta'}
    assert (Path(straight.work_dir) / 'last_checkpoint').read_text() == str(Path(straight.work_dir) / 'iter_12.pth')
    assert not list(Path(straight.work_dir).glob('.*tmp'))


def test_resume_continues_weights_and_history(straight, tmp_path):
    resumed = train(tmp_path, resume=Path(straight.work_dir) / 'iter_8.pth')
    assert_same_weights(weights(Path(straight.work_dir) / 'iter_12.pth'),
                        weights(Path(resumed.work_dir) / 'iter_12.pth'))
    for key in ('train/loss', 'train/lr'):
        expected, got = (runner.message_hub.get_scalar(key).data[0] for runner in (straight, resumed))
        assert len(got) == 12
        assert np.array_equal(expected, got)


def test_without_the_random_state_the_weights_differ(straight, tmp_path):
    """The toy model does depend on the global generator, so the equality above means something."""
    checkpoint = torch.load(Path(straight.work_dir) / 'iter_8.pth', weights_only=True)
    del checkpoint['random_states']
    torch.save(checkpoint, tmp_path / 'start.pth')
    resumed = train(tmp_path, resume=tmp_path / 'start.pth')
    expected, got = (weights(Path(runner.work_dir) / 'iter_12.pth') for runner in (straight, resumed))
    assert not torch.equal(expected['backbone.0.weight'], got['backbone.0.weight'])


def test_validation_interval_does_not_change_the_weights(straight, tmp_path):
    other = train(tmp_path, **{'train_cfg.val_interval': 2})
    assert_same_weights(straight.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize('workers', [0, 1])
def test_resume_loads_no_skipped_sample_and_starts_workers_once(straight, tmp_path, workers):
    trace = tmp_path / 'trace.txt'
    train(tmp_path, resume=Path(straight.work_dir) / 'iter_8.pth',
          **{'train_dataloader.dataset.trace': str(trace), 'train_dataloader.num_workers': workers})
    lines = [line.split() for line in trace.read_text().splitlines()]
    assert len({pid for pid, *_ in lines}) == 1
    draws = [int(draw) for _, _, draw in lines]
    assert draws[:16] == list(range(32, 48))  # workers may load ahead
    assert len(draws) == 16 or workers


def test_sampler_without_advance_still_resumes_at_the_right_sample(straight, tmp_path):
    loader = {'train_dataloader.sampler.type': 'InfiniteSampler'}
    whole = train(tmp_path, **loader, **{'default_hooks.checkpoint.max_keep_ckpts': -1})
    (tmp_path / 'b').mkdir()
    resumed = train(tmp_path / 'b', resume=Path(whole.work_dir) / 'iter_4.pth', **loader)
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())


def test_best_and_older_files(tmp_path):
    hook = 'default_hooks.checkpoint'
    runner = train(tmp_path, **{f'{hook}.save_best': 'score', f'{hook}.rule': 'greater', f'{hook}.max_keep_ckpts': 1})
    names = {file.name for file in Path(runner.work_dir).glob('*.pth')}
    best = [name for name in names if name.startswith('best_score_iter_')]
    assert names == {'iter_12.pth', *best}
    assert len(best) == 1
    checkpoint = torch.load(Path(runner.work_dir) / best[0], weights_only=True)
    assert 'optimizer' not in checkpoint
    assert from_plain(checkpoint['message_hub'])['runtime_info']['best_ckpt'].endswith(best[0])


def test_loading_weights_is_no_resume(straight, tmp_path):
    """``load_from`` alone starts at iteration 0 with the random state of the seed."""
    cfg = dict(load_from=str(Path(straight.work_dir) / 'iter_8.pth'), **{'train_cfg.max_iters': 1})
    first = train(tmp_path, **cfg)
    state = torch.get_rng_state()
    (tmp_path / 'b').mkdir()
    second = train(tmp_path / 'b', **cfg)
    assert first.iter == second.iter == 1
    assert torch.equal(state, torch.get_rng_state())


def test_newest_truncated_checkpoint_is_passed_over(straight, tmp_path, caplog):
    for name in ('iter_8.pth', 'iter_12.pth'):
        (tmp_path / name).write_bytes((Path(straight.work_dir) / name).read_bytes())
    broken = tmp_path / 'iter_12.pth'
    broken.write_bytes(broken.read_bytes()[:-500])
    assert latest_checkpoint(tmp_path) == tmp_path / 'iter_8.pth'
    assert 'iter_12.pth' in caplog.text
    (tmp_path / 'iter_8.pth').write_bytes(b'')
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / 'nowhere') is None


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(straight, tmp_path, number):
    """Stopped at a random moment between two checkpoints by a signal to the process group, data worker included."""
    config = write_config(tmp_path, "model['seconds'] = 0.1\ntrain_dataloader['num_workers'] = 1\n")
    work_dir = tmp_path / 'work'
    process = start_tool(config, work_dir)
    deadline = time.monotonic() + 120
    while not (work_dir / 'iter_4.pth').exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.35))
    os.killpg(process.pid, number)
    output = process.communicate(timeout=60)[0]
    if number == signal.SIGTERM:
        assert process.returncode == 143
        stopped = latest_checkpoint(work_dir)
        assert f'saved {stopped}' in output
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (work_dir / 'iter_12.pth').exists()
    resumed = start_tool(config, work_dir, '--resume', 'auto')
    output = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, output
    assert f'continuing from {work_dir}' in output
    assert_same_weights(weights(Path(straight.work_dir) / 'iter_12.pth'), weights(work_dir / 'iter_12.pth'))


def test_stop_signal_puts_the_previous_handler_back(tmp_path):
    def handler(number, frame):
        raise RuntimeError('not reached')

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        train(tmp_path, **{'train_cfg.max_iters': 1})
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, previous)
