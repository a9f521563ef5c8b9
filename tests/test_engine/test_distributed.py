import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from test_engine.toy_project import write_config
from test_engine.toy_runs import ENV, TOOLS

from stt_mm.engine import enable_amp, prepare_runtime
from stt_mm.utils.checkpoint import latest_checkpoint


def run_script(name, *args, cwd=None, timeout=180):
    return subprocess.run(
        ['bash', str(TOOLS / name), *map(str, args)],
        env=ENV,
        cwd=cwd,
        timeout=timeout,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_joined_batch(tmp_path):
    """Batch 2 in each of two processes against batch 4 in one, over validation and two checkpoints."""
    quiet = "model['noise'] = 0.0\n"
    config = write_config(tmp_path, quiet + "train_dataloader['batch_size'] = 2\n")
    result = run_script('dist_train.sh', config.name, 2, '--work-dir', 'both', cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert '2 processes on the CPU with gloo, without SyncBN' in result.stdout
    both = torch.load(tmp_path / 'both' / 'iter_12.pth', weights_only=True)
    assert len(both['random_states']) == 2

    cfg = Config.fromfile(write_config(tmp_path, quiet, 'one.py'))
    cfg.work_dir = str(tmp_path / 'one')
    runner = Runner.from_cfg(cfg)
    runner.train()
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(both['state_dict'][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_stop_signal_makes_both_processes_stop_after_the_same_iteration(tmp_path):
    config = write_config(tmp_path, "model['seconds'] = 0.1\ntrain_dataloader['num_workers'] = 1\n")
    command = ['bash', str(TOOLS / 'dist_train.sh'), str(config), '2', '--work-dir', str(tmp_path / 'work')]
    process = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / 'work' / 'iter_4.pth').exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    output = process.communicate(timeout=60)[0]
    stopped = latest_checkpoint(tmp_path / 'work')
    step = int(stopped.stem.split('_')[1])
    assert 4 <= step < 12
    where = re.search(rf'stopped (after|in the validation after) iteration {step} and saved ([^;]+?)[.;] ', output)
    assert where.group(2) == str(stopped)
    # They agree every two iterations; a validation ends without an agreement.
    assert step % (2 if where.group(1) == 'after' else 5) == 0
    assert len(torch.load(stopped, weights_only=True)['random_states']) == 2


def test_one_process_needs_no_preparation(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path))
    before = cfg.to_dict()
    prepare_runtime(cfg, 'none')
    assert cfg.to_dict() == before


def test_launcher_without_its_environment_is_named(tmp_path, monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match='--launcher pytorch expects .*not set: RANK, WORLD_SIZE'):
        prepare_runtime(Config.fromfile(write_config(tmp_path)), 'pytorch')


def test_amp_computes_in_half_precision_and_trains_float32_weights(tmp_path, device):
    cfg = Config.fromfile(
        write_config(
            tmp_path, "train_cfg['max_iters'] = 2\nval_cfg = None\nval_dataloader = None\nval_evaluator = None\n"
        )
    )
    cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16', accumulative_counts=2)
    cfg.work_dir = str(tmp_path / 'work')
    enable_amp(cfg)
    runner = Runner.from_cfg(cfg)
    seen = []
    runner.model.backbone[2].register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    before = runner.model.backbone[0].weight.clone()
    runner.train()
    assert seen == [torch.bfloat16 if device == 'cpu' else torch.float16] * 2
    assert runner.model.backbone[0].weight.device.type == device
    assert runner.model.backbone[0].weight.dtype == torch.float32
    assert not torch.equal(before, runner.model.backbone[0].weight)


def test_amp_refuses_a_wrapper_it_does_not_know(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='the config has ApexOptimWrapper'):
        enable_amp(cfg)


@pytest.mark.slow
def test_a_score_of_two_processes_is_that_of_the_file(tmp_path):
    """Both have the buffers of rank 0 when a validation starts, and no thread of the group outlives it."""
    config = write_config(
        tmp_path,
        "model.update(norm=True, noise=0.0)\ntrain_cfg['val_interval'] = 4\n"
        "default_hooks['checkpoint']['max_keep_ckpts'] = -1\n"
        "val_dataloader['dataset']['length'] = 4\n",
    )
    work_dir = tmp_path / 'work'
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc-per-node=2',
        str(Path(__file__).with_name('toy_ranks.py')),
        str(config),
        str(work_dir),
    ]
    result = subprocess.run(command, env=ENV, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
    assert result.returncode == 0, result.stdout
    ranks = [torch.load(work_dir / f'rank{rank}.pt', weights_only=True) for rank in (0, 1)]
    assert all(len(rank['threads']) <= 1 for rank in ranks)
    for step, (first, second) in enumerate(zip(*(rank['buffers'] for rank in ranks), strict=True)):
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True)), step
    lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    logged = [json.loads(line)['score'] for line in lines if 'score' in line]
    assert len(set(logged)) == 3
    for step, score in zip((4, 8, 12), logged, strict=True):
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'test'), load_from=str(work_dir / f'iter_{step}.pth')))
        assert Runner.from_cfg(cfg).test()['score'] == score
