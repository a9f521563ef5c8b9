"""Trainings of the toy project: in this process, and by the tools in others; and how to compare them."""

import os
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from test_engine.toy_project import write_config

from stt_mm.engine import from_plain

TOOLS = Path(__file__).parents[2] / 'tools'
PATHS = [str(folder) for folder in Path(__file__).parents[1:3]]
ENV = dict(os.environ, PYTHONPATH=os.pathsep.join(PATHS), OMP_NUM_THREADS='1', PYTHON=sys.executable)


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


def tool(name):
    """A command line tool as a module."""
    spec = spec_from_file_location(f'{name}_tool', TOOLS / f'{name}.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start_tool(config, work_dir, *args):
    return start([sys.executable, TOOLS / 'train.py', config, '--work-dir', work_dir, *args])


def start(command):
    return subprocess.Popen(
        list(map(str, command)),
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process):
    """Until there is something in a file of the running process."""
    deadline = time.monotonic() + 120
    while not path.exists() or not path.stat().st_size:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def assert_same_training(first, second):
    """Two checkpoints from which training continues alike."""
    first, second = (from_plain(torch.load(path, weights_only=True)) for path in (first, second))
    assert_same_weights(first['state_dict'], second['state_dict'])
    assert first['meta']['iter'] == second['meta']['iter']
    assert first['param_schedulers'] == second['param_schedulers']
    assert all(
        torch.equal(one['torch'], other['torch'])
        for one, other in zip(first['random_states'], second['random_states'], strict=True)
    )
    first, second = first['message_hub'], second['message_hub']
    assert first['runtime_info']['iter'] == second['runtime_info']['iter']
    assert np.array_equal(*(hub['log_scalars']['train/loss'].data[0] for hub in (first, second)))


def differences(first, second, name=''):
    """Names of what is not equal, bit by bit, in two nested structures."""
    if type(first) is not type(second):
        return [name]
    if isinstance(first, dict):
        return [
            key
            for item in {**first, **second}
            for key in differences(first.get(item), second.get(item), f'{name}.{item}')
        ]
    if isinstance(first, list | tuple):
        return (
            [name]
            if len(first) != len(second)
            else [
                key
                for index, (one, other) in enumerate(zip(first, second, strict=True))
                for key in differences(one, other, f'{name}[{index}]')
            ]
        )
    if isinstance(first, np.ndarray | torch.Tensor):
        return [] if first.dtype == second.dtype and np.array_equal(first, second, equal_nan=True) else [name]
    return [] if first == second else [name]


def state(path):
    """All that a checkpoint says about a training, without clock times and paths."""
    content = from_plain(torch.load(path, weights_only=True))
    hub = content.pop('message_hub')
    info = hub['runtime_info']
    return dict(
        {key: value for key, value in content.items() if key != 'meta'},
        iter=content['meta']['iter'],
        history={key: list(buffer.data) for key, buffer in hub['log_scalars'].items() if 'time' not in key},
        info={key: info.get(key) for key in ('iter', 'epoch', 'best_score', 'scored_iter')},
        best=Path(info.get('best_ckpt') or '').name,
    )


def assert_same_checkpoints(first, second):
    """Two files of equal weights, optimizer, schedule, random states, history and scores."""
    assert differences(state(first), state(second)) == []
