import errno
import functools
import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmpretrain.models import ResNet
from test_engine.toy_project import ToyDataset, ToyMetric, ToyModel, write_config

from stt_mm.engine import load_config, run_log
from stt_mm.engine.cli import Progress, one_line_errors, option_value
from stt_mm.errors import FileError, InputError, MissingInputError
from stt_mm.registry import FUNCTIONS, HOOKS, METRICS, MODELS
from stt_mm.utils import FrameError
from stt_mm.utils.checkpoint import CheckpointError
from stt_mm.utils.checks import usable_device

TOOLS = Path(__file__).parents[2] / 'tools'
SHELL_TOOLS = ['dist_train', 'dist_test', 'slurm_train', 'slurm_test']
_last_second = 0


def tool(name):
    """The module of a tool."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, *args):
    """Run a tool's main; not two runners in one second, as MMEngine's singletons are named by it."""
    while int(time.time()) == _last_second:
        time.sleep(0.02)
    try:
        tool(name).main([str(arg) for arg in args])
    finally:
        globals()['_last_second'] = int(time.time()) if name in ('train', 'test') else 0


def error_of(capfd, name, *args):
    """The one line with which a tool gives up."""
    with pytest.raises(SystemExit) as stop:
        call(name, *args)
    assert stop.value.code == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error:')]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, "train_cfg['max_iters'] = 2\ndefault_hooks['checkpoint']['interval'] = 1\n")


@pytest.mark.parametrize('name', SHELL_TOOLS)
def test_shell_tools_without_arguments_print_their_usage(name, tmp_path):
    result = subprocess.run([TOOLS / f'{name}.sh'], cwd=tmp_path, text=True, capture_output=True)
    assert result.returncode == 2
    assert f'usage: tools/{name}.sh' in result.stderr
    assert f'example: {"GPUS=4 " if "slurm" in name else ""}tools/{name}.sh' in result.stderr


@pytest.mark.parametrize(
    ('settings', 'meeting'),
    [
        ({}, '--standalone --local-addr=127.0.0.1'),
        (dict(PORT='1234'), '--nnodes=1 --node-rank=0 --master-addr=127.0.0.1 --master-port=1234'),
        (
            dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.7'),
            '--nnodes=2 --node-rank=1 --master-addr=10.0.0.7 --master-port=29500',
        ),
    ],
)
def test_processes_of_one_machine_meet_where_nobody_else_does(settings, meeting, tmp_path):
    """A port that is looked for before it is listened at may be taken by another training in between."""
    (tmp_path / 'python').write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / 'python').chmod(0o755)
    env = {key: value for key, value in os.environ.items() if key not in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT')}
    env |= dict(PYTHON=str(tmp_path / 'python'), **settings)
    result = subprocess.run(
        [TOOLS / 'dist_train.sh', 'c.py', '2', '--amp'], env=env, text=True, capture_output=True, check=True
    )
    command = result.stdout.splitlines()[-1]
    assert command.startswith(f'-m torch.distributed.run {meeting} --nproc-per-node=2 ')
    assert command.endswith('tools/train.py --launcher pytorch c.py --amp')


def test_several_nodes_need_an_address():
    env = {key: value for key, value in os.environ.items() if key != 'MASTER_ADDR'}
    env |= dict(NNODES='2', PYTHON=sys.executable)
    result = subprocess.run([TOOLS / 'dist_train.sh', 'c.py', '2'], env=env, text=True, capture_output=True)
    assert result.returncode == 2
    assert result.stderr.startswith('error: NNODES=2 needs MASTER_ADDR')


def test_slurm_command(tmp_path):
    """With srun replaced by echo."""
    (tmp_path / 'srun').write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    env = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='4', SRUN_ARGS='--signal=SIGUSR1@120 --quiet')
    env.pop('PYTHON', None)
    result = subprocess.run(
        [TOOLS / 'slurm_train.sh', 'part', 'job', 'c.py', 'w dir', '--amp'],
        env=env,
        text=True,
        capture_output=True,
        check=True,
    )
    assert '--partition=part --job-name=job --gres=gpu:4 --ntasks=4 --ntasks-per-node=4' in result.stdout
    assert '--signal=SIGUSR1@120 --quiet python -u' in result.stdout
    assert 'train.py --launcher slurm c.py --work-dir w dir --amp' in result.stdout


def test_an_interpreter_without_torch_is_named_before_it_is_launched(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nexit 1\n')
    python.chmod(0o755)
    command = [TOOLS / 'dist_test.sh', 'c.py', 'none', '2']
    result = subprocess.run(command, env=dict(os.environ, PYTHON=str(python)), text=True, capture_output=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f'error: {python} has no torch. Activate the environment')


def test_train_then_resume_then_test(config, tmp_path, capfd):
    call('train', config, '--resume', '--no-validate', '--seed', 5, '--auto-scale-lr')
    output = capfd.readouterr()
    assert 'no readable checkpoint in work_dirs/toy, training starts from scratch' in output.out + output.err
    final = tmp_path / 'work_dirs' / 'toy' / 'iter_2.pth'
    checkpoint = torch.load(final, weights_only=True)
    assert checkpoint['meta']['seed'] == 5
    assert checkpoint['optimizer']['param_groups'][0]['initial_lr'] == 1e-2 * 4 / 8

    (tmp_path / 'work_dirs' / 'toy' / 'iter_3.pth').write_bytes(final.read_bytes()[:1000])
    call('train', config, '--resume', 'auto', '--amp', '--cfg-options', 'train_cfg.max_iters=3')
    output = capfd.readouterr()
    assert 'Passed over an unreadable checkpoint: work_dirs/toy/iter_3.pth' in output.out + output.err
    assert 'continuing from work_dirs/toy/iter_2.pth' in output.out + output.err

    trained = tmp_path / 'work_dirs' / 'toy' / 'iter_3.pth'
    call('test', config, trained, '--out', 'results/test.json', '--amp')
    result = json.loads((tmp_path / 'results' / 'test.json').read_text())
    assert result['metrics'].keys() == {'score'}
    assert result['config'] == 'toy.py'
    assert result['checkpoint']['path'] == str(trained)
    assert 'matched 4 (100.0%), missing 0' in ''.join(capfd.readouterr())
    assert (result['max_frames'], result['protocol'], result['checkpoint']['matched_ratio']) == (None, None, 1)
    assert result['checkpoint']['geometry'] == dict(trained=None, used=None)
    call(
        'test',
        config,
        'none',
        '--out',
        'none.json',
        '--cfg-options',
        'test_dataloader.dataset.max_frames=2',
        'randomness.seed=3',
    )
    untrained = json.loads((tmp_path / 'none.json').read_text())
    assert untrained['metrics'] != result['metrics']
    assert (untrained['max_frames'], untrained['seed']) == (2, 3)
    assert untrained['checkpoint'] == dict(path=None, sha8=None, source='none')


def test_a_training_does_not_replace_another_one(config, capfd, tmp_path):
    work = tmp_path / 'work_dirs' / 'toy'
    call('train', config, '--no-validate')
    before = (work / 'iter_2.pth').read_bytes()
    line = error_of(capfd, 'train', config, '--no-validate')
    assert 'work_dirs/toy holds' in line
    assert all(option in line for option in ('--resume', '--work-dir', '--overwrite'))
    start = f'load_from={work}/iter_2.pth'
    assert 'would remove' in error_of(capfd, 'train', config, '--no-validate', '--overwrite', '--cfg-options', start)
    assert (work / 'iter_2.pth').read_bytes() == before
    (work / 'iter_99.pth').write_bytes(before)
    anew = ('train', config, '--no-validate', '--overwrite', '--cfg-options')
    assert 'dataset is empty' in error_of(capfd, *anew, 'train_dataloader.dataset.length=0')
    assert (work / 'iter_2.pth').read_bytes() == before
    assert 'length=10' in (work / 'toy.py').read_text()
    call('train', config, '--no-validate', '--overwrite', '--cfg-options', 'train_dataloader.dataset.length=11')
    assert not (work / 'iter_99.pth').exists()
    assert 'length=11' in (work / 'toy.py').read_text()
    call('train', config, '--no-validate', '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    assert (work / 'iter_3.pth').exists()


def test_test_refuses_weights_that_do_not_fit(config, tmp_path, capfd):
    torch.save(dict(state_dict={'backbone.0.weight': torch.zeros(4, 3, 3, 3)}), tmp_path / 'few.pth')
    line = error_of(capfd, 'test', config, 'few.pth')
    assert 'few.pth does not fit the backbone' in line
    assert 'missing: 0.bias, 2.weight, 2.bias' in line
    call('test', config, 'few.pth', '--allow-partial')


def test_dump_masks_reaches_the_metric(config, tmp_path):
    module = tool('test')
    args = module.parse_args([str(config), 'none', '--work-dir', 'w', '--dump-masks', 'masks'])
    cfg = module.load_config(config)
    cfg.test_evaluator = [dict(type='ToyMetric'), dict(type='stt_mm.DAVISMetric')]
    module.merge_args(cfg, args)
    toy, davis = cfg.test_evaluator
    assert toy == dict(type='ToyMetric')
    assert dict(davis, run_id='') == dict(
        type='stt_mm.DAVISMetric', out_dir='w', dump_masks='masks', run_id='', resume=False
    )
    other = module.parse_args([str(config), str(config), '--work-dir', 'w'])
    assert davis['run_id'] != module.run_id(cfg, other.checkpoint, None)
    assert 'train_dataloader' not in cfg
    cfg.test_evaluator = dict(type='DAVISMetric')
    args.dump_masks = None
    module.merge_args(cfg, args)
    assert 'dump_masks' not in cfg.test_evaluator
    assert cfg.test_evaluator.out_dir == 'w'


@pytest.mark.parametrize(
    ('metric', 'options', 'message'),
    [
        (dict(type='JHMDBMetric'), ['--dump-masks', 'm'], 'JHMDBMetric scores no masks, so'),
        (dict(type='YouTubeVOSMetric', seen_categories='seen.txt'), [], 'List of categories: no file seen.txt'),
    ],
)
def test_a_metric_that_cannot_be_is_refused_before_anything_is_loaded(config, metric, options, message):
    module = tool('test')
    cfg = module.load_config(config)
    cfg.test_evaluator = metric
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        module.merge_args(cfg, module.parse_args([str(config), 'none', '--work-dir', 'w', *options]))


def test_what_is_skipped_by_config_stays_so_with_skip_done(config, tmp_path):
    module = tool('test')
    args = module.parse_args([str(config), 'none', '--work-dir', str(tmp_path), '--skip-done'])

    def merged():
        cfg = module.load_config(config)
        cfg.test_evaluator = dict(type='DAVISMetric')
        cfg.test_dataloader.dataset.skip = ['short']
        module.merge_args(cfg, args)
        return cfg

    metric = METRICS.build(dict(merged().test_evaluator, resume=False))
    sample = dict(
        video_id='done',
        frame_names=['0', '1'],
        original_size=(2, 2),
        mask_paths=['0.png', None],
        pred_masks=np.zeros((2, 2, 2), np.uint8),
        protocol={},
    )
    metric.process(None, [sample])
    assert merged().test_dataloader.dataset.skip == ['done', 'short']


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_config_with_a_byte_order_mark(config, capfd, encoding):
    Path(config).write_bytes(Path(config).read_text().encode(encoding))
    assert 'begins with a byte order mark. Save configs as UTF-8 without' in error_of(capfd, 'print_config', config)


def test_results_of_other_weights_are_not_those_of_this_run(tmp_path, monkeypatch):
    """Without a checkpoint the files of the config decide, by what is in them, or the seed of random weights.

    Nor are those in another precision.
    """
    monkeypatch.chdir(tmp_path)
    module = tool('test')

    def run_id(seed=0, checkpoint='none', test_cfg=None, **model):
        return module.run_id(
            Config(
                dict(
                    model=model,
                    test_dataloader=dict(dataset={}),
                    test_evaluator=[],
                    test_cfg=test_cfg or {},
                    randomness=dict(seed=seed),
                )
            ),
            checkpoint,
            None,
        )

    def network(**init_cfg):
        return dict(type='Net', init_cfg=dict(type='Pretrained', **init_cfg))

    fusion = dict(backbones=[network(checkpoint='a.pth'), network(checkpoint='b.pth')])
    Path('a.pth').write_bytes(b'a')
    Path('b.pth').write_bytes(b'b')
    first = run_id(**fusion)
    assert run_id(seed=1, **fusion) == first
    assert run_id(test_cfg=dict(fp16=True), **fusion) != first
    Path('b.pth').write_bytes(b'c')
    assert run_id(**fusion) != first
    Path('b.pth').write_bytes(b'b')
    assert run_id(**fusion) == first
    for plain in (dict(backbone=dict(type='Net')), dict(backbones=[network(checkpoint='a.pth'), dict(type='Net')])):
        assert run_id(**plain) != run_id(seed=1, **plain)
        assert run_id(checkpoint='a.pth', **plain) == run_id(seed=1, checkpoint='a.pth', **plain)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('train_dataloder = dict()', r"'train_dataloder' \(did you mean 'train_dataloader'"),
        ('model = dict(type="ToyModel", nois=1.0)', 'nois'),
        ('model = dict(type="NoModel")', r"model.type: 'NoModel' is not in the registry of models \(did you mean 'T"),
        ("train_dataloader['dataset']['lenght'] = 3", 'lenght'),
        ("train_cfg['max_iter'] = 3", 'max_iter'),
        ("default_hooks['checkpoint']['intervall'] = 3", 'intervall'),
        ("optim_wrapper['optimizer']['learning_rate'] = 3", 'learning_rate'),
        ('x = 1 +', 'cannot be loaded as a config: SyntaxError'),
        ('_base_ = "nowhere.py"', 'nowhere.py'),
        ('del train_cfg', 'no train_cfg'),
        ('del auto_scale_lr', '--auto-scale-lr needs auto_scale_lr'),
    ],
)
def test_mistakes_in_a_config_end_in_one_line(text, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    line = error_of(capfd, 'train', write_config(tmp_path, text + '\n'), '--auto-scale-lr')
    assert re.search(message, line), line


def test_missing_files_end_in_one_line(config, tmp_path, capfd):
    assert 'There is no file toi.py, and no shipped config' in error_of(capfd, 'train', 'toi.py')
    assert 'Checkpoint not found: nowhere.pth' in error_of(capfd, 'train', config, '--resume', 'nowhere.pth')
    assert 'Checkpoint not found: nowhere.pth' in error_of(capfd, 'test', config, 'nowhere.pth')
    assert '--skip-done need a metric' in error_of(capfd, 'test', config, 'none', '--dump-masks', 'd')


def test_traceback_on_request(config, monkeypatch):
    monkeypatch.setenv('STT_MM_TRACEBACK', '1')
    with pytest.raises(FileNotFoundError):
        call('train', 'toi.py')


@pytest.mark.parametrize('option', ['noise', '=3', 'model.noise=[1,2'])
@pytest.mark.parametrize('name', ['train', 'test', 'print_config', 'estimate_fisher'])
def test_options_that_are_no_assignment_end_in_the_usage(name, option, capsys):
    with pytest.raises(SystemExit) as stop:
        tool(name).main(['config.py', '--cfg-options', 'model.noise=1', option])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].split('error: ')[1].startswith('argument --cfg-options: ')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['optim_wrapper.optimizer.type=Adamm'],
            r"optim_wrapper\.optimizer\.type: 'Adamm' is not in the registry of optimizers \(did you mean 'Adam'",
        ),
        (
            ['optim_wrapper.optimizer.type=ToyModel'],
            r"optim_wrapper\.optimizer\.type: 'ToyModel' is not in the registry",
        ),
        (['optim_wrapper.optimizer.type=3'], 'optimizer must be a name, got 3'),
        (['optim_wrapper.optimizer=None'], r'optim_wrapper\.optimizer is written as dict\(type=\.\.\.\), got None'),
        (['optim_wrapper.optimizer.lr=-1'], 'Adam cannot be built: ValueError: Invalid learning rate'),
        (['optim_wrapper.clip_grad.max=1'], r"optim_wrapper\.clip_grad: .* no argument 'max'"),
        (['optim_wrapper.type=Wrapper'], r"optim_wrapper\.type: 'Wrapper' is not in the registry"),
        (['param_scheduler.type=CosineLR'], r"param_scheduler\.type: 'CosineLR' is not"),
        (
            ['train_dataloader.num_workers=1', 'train_dataloader.prefetch_factor=0'],
            'train_dataloader.prefetch_factor must',
        ),
        (['optim_wrapper.clip_grad.max_norm=-1'], r'clip_grad\.max_norm must be positive'),
        (['optim_wrapper.clip_grad.max_norm=0'], r'clip_grad\.max_norm must be positive'),
        (['optim_wrapper.clip_grad.max_norm=x'], 'max_norm must be a finite number'),
        (['param_scheduler.T_max=x'], "T_max must be a whole number of at least 1, got 'x'"),
        (['param_scheduler.end=-1'], 'CosineAnnealingLR cannot be built'),
        (['model.nois=1.0'], r"model: ToyModel has no argument 'nois' \(did you mean 'noise'\?\)"),
        (['model=3'], 'model must be .*, got 3'),
        (['model.noise.level=3'], '--cfg-options do not fit .*toy.py'),
        (['custom_hooks.7.interval=3'], '--cfg-options do not fit .*toy.py: .*Index 7'),
        (['custom_hooks.first.interval=3'], '--cfg-options do not fit .*toy.py'),
        (['custom_hooks.0.type=StopHook'], r"custom_hooks\.0\.type: 'StopHook' is not .*'StopSignalHook'"),
        (['custom_imports.imports=[no_such_module]'], '--cfg-options do not fit .*no_such_module'),
        (['train_cfg.val_interval=0'], r'train_cfg\.val_interval must be a whole number of at least 1, got 0'),
        (['train_cfg.val_interval=-5'], r'train_cfg\.val_interval must be .* got -5'),
        (['train_cfg.max_iters=0'], r'train_cfg\.max_iters must be .* got 0'),
        (['train_cfg.max_iters=-5'], r'train_cfg\.max_iters must be .* got -5'),
        (['train_cfg.max_iters=many'], "train_cfg: IterLoop: max_iters must be an integer, got 'many'"),
        (['default_hooks.checkpoint.interval=0'], 'CheckpointHook: interval, unless it is -1, .* got 0'),
        (['default_hooks.checkpoint.max_keep_ckpts=0'], 'CheckpointHook: max_keep_ckpts, .* got 0'),
        (
            ['default_hooks.checkpoint.save_best=Jaccard', 'train_cfg.val_interval=1'],
            'save_best=Jaccard is no metric of the validation, which gives score',
        ),
        (['default_hooks.logger.interval=0'], 'LoggerHook cannot be built: ValueError'),
        (['default_hooks.loger.interval=3'], 'A hook is written as dict'),
        (
            ['train_dataloader.batch_size=0'],
            r'train_dataloader\.batch_size must be a whole number of at least 1, got 0',
        ),
        (['train_dataloader.num_workers=-1'], r'train_dataloader\.num_workers must be .* got -1'),
        (['train_dataloader.num_worker=1'], r"train_dataloader: DataLoader has no argument 'num_worker'"),
        (
            ['train_dataloader.pin_memory=2', 'train_dataloader.timeout=-3'],
            'The data loader of the training cannot be built: ValueError: timeout',
        ),
        (
            [
                'train_dataloader.sampler.type=DefaultSampler',
                'train_dataloader.batch_size=50',
                'train_dataloader.drop_last=True',
            ],
            'ToyDataset: 10 samples .* do not fill a batch of 50',
        ),
        (['train_dataloader.sampler.shufle=True'], r"train_dataloader\.sampler: TrainSampler has no argument 'shufle'"),
        (['train_dataloader.dataset=None'], r'train_dataloader\.dataset is written as'),
        (['train_dataloader.dataset.type=ToyDatset'], r"train_dataloader\.dataset\.type: 'ToyDatset' .*'ToyDataset'"),
        (['train_dataloader.collate_fn.type=defalt_collate'], "collate_fn.type: 'defalt_collate' .*'default_collate'"),
        (['val_evaluator.type=ToyMetrics'], r"val_evaluator\.type: 'ToyMetrics' is not .*'ToyMetric'"),
        (['val_evaluator=None'], 'val_cfg, val_evaluator; val_evaluator is missing'),
        (['log_level=LOUD'], "log_level must be one of .*, got 'LOUD'"),
        (['randomness.sed=1'], r"randomness has no key 'sed' \(did you mean 'seed'"),
        (['randomness.seed=-1'], r'randomness\.seed must be between 0 and .* got -1'),
        (['load_from=nofile.pth'], 'Checkpoint not found: nofile.pth'),
        (['load_from=https://example.org/a.pth'], 'load_from=https://example.org/a.pth would be read without a look'),
        (['load_from=3'], 'load_from must be .*, got 3'),
        (['sync_bn=Torch'], "sync_bn must be one of 'torch', 'mmcv' or None, got 'Torch'"),
        (['param_scheduler.T_max=0'], r'param_scheduler\.T_max must be a whole number of at least 1, got 0'),
        (['log_processor.window_size=0'], r'log_processor\.window_size must be a whole number of at least 1, got 0'),
        (['log_processor.window_size=x'], r"log_processor\.window_size must be .* got 'x'"),
        (['optim_wrapper.paramwise_cfg.norm_decay=0'], r"paramwise_cfg has no key 'norm_decay' \(did you mean 'norm_d"),
        (['optim_wrapper.paramwise_cfg=3'], r'optim_wrapper\.paramwise_cfg must be a dict, got 3'),
        (['optim_wrapper.paramwise_cfg.custom_keys=[1]'], r'paramwise_cfg\.custom_keys must be a dict, got \[1\]'),
        (['optim_wrapper.paramwise_cfg.custom_keys.bias=3'], r'custom_keys\.bias must be a dict, got 3'),
        (['optim_wrapper.paramwise_cfg.custom_keys.bias.lr_mul=3'], r"custom_keys\.bias has no key 'lr_mul' \(did"),
        (
            ['optim_wrapper.paramwise_cfg.custom_keys.bias.lr_mult=x'],
            r'custom_keys\.bias\.lr_mult must be a finite number',
        ),
        (['env_cfg.cudnn_bench=True'], r"env_cfg has no key 'cudnn_bench' \(did you mean 'cudnn_benchmark'"),
        (['env_cfg.mp_cfg.mp_start_method=x'], r"env_cfg\.mp_cfg\.mp_start_method must be one of 'fork', .* got 'x'"),
        (['env_cfg.dist_cfg.backed=nccl'], r"env_cfg\.dist_cfg has no key 'backed' \(did you mean 'backend'"),
        (
            ['train_dataloader.pin_memory=yes'],
            "train_dataloader: DataLoader: pin_memory must be True or False, got 'yes'",
        ),
        (
            ['train_dataloader.worker_init_fn=x'],
            r'train_dataloader\.worker_init_fn is written as dict\(type=\.\.\.\), got',
        ),
        (['randomness.seed=a'], r"randomness\.seed must be an integer or None, got 'a'"),
        (['randomness.seed=1.5'], r'randomness\.seed must be an integer or None, got 1\.5'),
        (['custom_hooks.0.priority=HUGE'], r"custom_hooks\.0\.priority must be a name such as LOW, .* got 'HUGE'"),
        (['default_hooks.logger.priority=-3'], r'default_hooks\.logger\.priority must be .* got -3'),
        (['default_hooks.timer=3'], r'default_hooks\.timer is written as dict\(type=\.\.\.\), got 3'),
        (['val_cfg=None'], 'A validation needs .* val_cfg is missing'),
        (['optim_wrapper.optimizer.lr=x'], r"optim_wrapper\.optimizer: Adam: lr must be a finite number .*, got 'x'"),
        (
            ['optim_wrapper.optimizer.betas=[a,b]'],
            r"optim_wrapper\.optimizer: Adam: betas must be .*, got \['a', 'b'\]",
        ),
        (['test_cfg.type=ValLoop'], r"test_cfg\.type: 'ValLoop' is a loop for another key"),
        (['val_cfg.type=IterLoop'], r"val_cfg\.type: 'IterLoop' is a loop for another key"),
        (['auto_scale_lr.base_batch_size=0'], r'auto_scale_lr\.base_batch_size must be a whole number of at least 1'),
        (['auto_scale_lr.enabled=True'], "auto_scale_lr has no key 'enabled'"),
        (['compile=3'], 'compile must be True or False or a dict, got 3'),
        (['log_level=2.5'], r'log_level must be .*, got 2\.5'),
    ],
)
def test_wrong_values_in_a_config_end_in_one_line(options, message, config, capfd):
    line = error_of(capfd, 'train', config, '--cfg-options', *options)
    assert re.search(message, line), line


@pytest.mark.parametrize(
    'options',
    [
        {'log_level': 'WARN', 'env_cfg': dict(dist_cfg=dict(backend='gloo', world_size=2, rank=0))},
        {'custom_hooks': [dict(type='ProfilerHook', on_trace_ready=dict(type='tb_trace'))]},
        {'optim_wrapper.paramwise_cfg': dict(bias_lr_mult=None, norm_decay_mult=0)},
    ],
)
def test_what_mmengine_takes_is_accepted(config, options):
    load_config(config, options)


def test_initialisers_may_be_several(config):
    several = [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer='BatchNorm2d')]
    cfg = load_config('stt_r18_demo', {'model.init_cfg': several})
    MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        (
            'davis_r18_s8',
            {'model.backbone.init_cfg.checkpoint': 'a.pth'},
            r"backbone\.init_cfg .*, got \{'checkpoint': ",
        ),
        (
            'davis_r18_s8',
            {'model.init_cfg': [dict(type='Kaiming'), dict(val=1)]},
            r"model\.init_cfg .*, got \{'val': 1",
        ),
        ('stt_r18_demo', {'model.negatives.frames': 10}, r"model\.negatives .*, got \{'frames': 10\}"),
        ('mast/mast_r18_demo', {'model.compactness_head.weight': 2}, r'model\.compactness_head .*, got'),
        ('mast/mast_r18_demo', {'model.backbone.position.kind': 'abs2d'}, r'model\.backbone\.position .*, got'),
    ],
)
def test_a_part_without_a_type_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_config(name, options)


def test_numbers_of_log_levels_and_marks_of_other_hooks_are_accepted(config):
    marks = dict(fix_lr=True, weight_decay=0, lars_exclude=True)
    load_config(
        config,
        {
            'log_level': 20,
            'optim_wrapper.clip_grad.max_norm': float('inf'),
            'optim_wrapper.paramwise_cfg.custom_keys.bias': marks,
        },
    )


@pytest.mark.parametrize('base', ['', "_base_ = 'base.py'\n"])
def test_what_a_config_imports_is_no_key(base, config, tmp_path):
    write_config(tmp_path, name='base.py')
    rest = (
        'model = dict(noise=float(torch.tensor(0.5)))'
        if base
        else (config.read_text() + 'model.update(noise=float(torch.tensor(0.5)))')
    )
    config.write_text(f'{base}import math\nimport torch\nfrom torch.optim import Adam\n{rest}\n')
    cfg = load_config(config)
    assert cfg.model.noise == 0.5
    assert not {'math', 'torch', 'Adam'} & cfg.keys()
    assert Config.fromstring(cfg.pretty_text, '.py').model.noise == 0.5


def test_a_function_of_this_package_makes_the_batches(config, monkeypatch):
    made = []

    @FUNCTIONS.register_module(force=True)
    def counted_batch(samples, start):
        made.append(start + len(samples))
        return torch.utils.data.default_collate(samples)

    call(
        'train',
        config,
        '--no-validate',
        '--cfg-options',
        'train_dataloader.collate_fn.type=counted_batch',
        'train_dataloader.collate_fn.start=10',
    )
    assert made == [14, 14]
    monkeypatch.setitem(FUNCTIONS.module_dict, 'counted_batch', lambda samples, start: {}['a bug'])
    with pytest.raises(KeyError, match='a bug'):
        call(
            'train',
            config,
            '--no-validate',
            '--overwrite',
            '--cfg-options',
            'train_dataloader.collate_fn.type=counted_batch',
            'train_dataloader.collate_fn.start=10',
        )


def test_samples_that_make_no_batch_end_in_one_line(config, monkeypatch, capfd):
    monkeypatch.setattr(ToyDataset, '__getitem__', lambda *_: dict(inputs=object()))
    assert 'The samples cannot be made a batch. A training pipeline ends' in error_of(capfd, 'train', config)


def test_an_interrupt_before_a_training_listens_ends_in_one_line(config, monkeypatch, capfd):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(ToyDataset, '__init__', interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # It may be ignored, as in the background.
    try:
        with pytest.raises(SystemExit) as stop:
            call('train', config)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.code == 130
    assert capfd.readouterr().err.splitlines()[-1] == 'interrupted'


def test_a_loader_without_workers_needs_nothing_else(config):
    call(
        'train',
        config,
        '--cfg-options',
        'train_dataloader.num_workers=0',
        'train_dataloader.prefetch_factor=4',
        'train_dataloader.persistent_workers=True',
        'val_dataloader.persistent_workers=True',
    )


@pytest.mark.parametrize('kind', [ValueError, TypeError, KeyError, AssertionError, OSError])
@pytest.mark.parametrize(
    'place',
    [(ToyModel, 'forward'), (ToyModel, '__init__'), (ToyDataset, '__init__'), (ToyMetric, '__init__')],
    ids=lambda place: f'{place[0].__name__}.{place[1]}',
)
def test_a_fault_of_the_code_keeps_its_traceback(place, kind, config, monkeypatch):
    """Whoever calls the code: the runner's loops and wrappers are of another library."""
    original = getattr(*place)

    @functools.wraps(original)
    def faulty(*args, **kwargs):
        raise kind('a bug')

    monkeypatch.setattr(*place, faulty)
    with pytest.raises(kind, match='a bug'):
        call('train', config)


class BrokenFrames(torch.utils.data.Dataset):
    """Every access fails, with an error of the toolbox."""

    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 2

    def __getitem__(self, index):
        try:
            raise KeyError('first')
        except KeyError as error:
            raise self.kind('Frame x.jpg is cut off\n(300 bytes): copy it again.') from error


@pytest.mark.parametrize('kind', [InputError, MissingInputError, FileError, FrameError, CheckpointError])
def test_errors_of_data_workers_stay_of_their_kind(kind, capsys):
    with pytest.raises(SystemExit), one_line_errors():
        next(iter(torch.utils.data.DataLoader(BrokenFrames(kind), num_workers=1)))
    assert capsys.readouterr().err == 'error: Frame x.jpg is cut off (300 bytes): copy it again.\n'
    with pytest.raises(ValueError, match='a bug'), one_line_errors():
        raise ValueError('a bug')


class Refused(BrokenFrames):
    def __getitem__(self, index):
        raise self.kind


@pytest.mark.parametrize(('number', 'expected'), [(errno.ENOSPC, True), (errno.EACCES, True), (errno.ENOENT, False)])
def test_what_the_operating_system_refuses_to_a_data_worker_is_one_line_too(number, expected, capsys):
    loader = torch.utils.data.DataLoader(Refused(OSError(number, os.strerror(number), 'x.jpg')), num_workers=1)
    with pytest.raises(SystemExit if expected else OSError), one_line_errors():
        next(iter(loader))
    if expected:
        assert capsys.readouterr().err == f"error: [Errno {number}] {os.strerror(number)}: 'x.jpg'\n"


def test_what_the_operating_system_refuses_names_the_path(tmp_path, capsys):
    path = tmp_path / 'file'
    with pytest.raises(SystemExit), one_line_errors():
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))
    assert capsys.readouterr().err == f'error: Permission denied: {path}.\n'
    with pytest.raises(FileNotFoundError), one_line_errors():  # of somebody's code, which did not look
        path.read_text()


def test_components_of_others_may_take_more_than_they_say(config):
    @HOOKS.register_module(force=True)
    class OthersHook(Hook):
        def __init__(self, n: int = None, path: Path = '.', what: Any = None, dataset: str = '') -> None:
            self.path = Path(path)

    hook = dict(type='OthersHook', n=None, path='a/b', what=None, dataset='davis')
    for hook['what'] in ('text', None, [1]):
        assert load_config(config, dict(custom_hooks=[hook])).custom_hooks[0].n is None
    load_config(config, {'optim_wrapper.clip_grad': dict(type='value', clip_value=0.1)})
    load_config(config, {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.loss_scale': 512.0})


def test_a_full_disk_is_named_with_file_and_size(config, tmp_path, monkeypatch, capfd):
    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    line = error_of(capfd, 'train', config)
    assert re.search(r'iter_1\.pth \(\d+ bytes\) cannot be written: No space left on device', line)
    assert list((tmp_path / 'work_dirs' / 'toy').glob('*.pth*')) == []


def test_an_error_does_not_hang_on_a_progress_bar(capsys):
    Progress(3).update()
    with pytest.raises(SystemExit), one_line_errors():
        raise InputError('too short')
    assert capsys.readouterr().err.endswith('\nerror: too short\n')
    Progress(1).update()
    assert capsys.readouterr().err.endswith('\n')
    users = [path for path in TOOLS.rglob('*.py') if 'ProgressBar' in path.read_text()]
    assert users == []


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/my videos/clips', '/my videos/clips'),
        (' 5 ', 5),
        ('5e-1', 0.5),
        ('True', True),
        ('false', False),
        ('None', None),
        ('none', 'none'),
        ('a b,c', ['a b', 'c']),
        ('1,', [1]),
        ('[]', []),
        ('()', ()),
        ('', ''),
        ('[1, (2,3) , [a b, None]]', [1, (2, 3), ['a b', None]]),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        ("'5'", '5'),
        ('"/my, videos"', '/my, videos'),
        ('"a","b"', ['a', 'b']),
        ("it's", "it's"),
        ('/a (old, best)/b', '/a (old, best)/b'),
        ('a)', 'a)'),
        ('a (', 'a ('),
        ('dict(a=1)', 'dict(a=1)'),
    ],
)
def test_values_of_options(text, value):
    found = option_value(text)
    assert found == value
    assert type(found) is type(value)


def test_options_keep_their_blanks(config, capsys):
    call('print_config', config, '--cfg-options', 'train_dataloader.dataset.trace=/my videos/clips')
    assert "trace='/my videos/clips'" in capsys.readouterr().out


@pytest.mark.parametrize('device', ['gpu', 'cuda:7', 'meta', ''])
def test_a_device_that_is_not_there(device):
    with pytest.raises(InputError, match='There is no device .* PyTorch sees: cpu'):
        usable_device(device)


def test_warnings_of_all_modules_reach_the_log_of_the_run(config, tmp_path, monkeypatch, capfd):
    forward = ToyModel.forward

    def telling(*args, **kwargs):
        for side in (64, 32):
            logging.getLogger('stt_mm.models.propagator').warning('tiles of %d', side)
        warnings.warn('made of glass', stacklevel=1)
        return forward(*args, **kwargs)

    call('train', config)
    (tmp_path / 'work_dirs' / 'toy' / 'iter_9.pth').write_bytes(b'no checkpoint')
    capfd.readouterr()
    monkeypatch.setattr(ToyModel, 'forward', telling)
    call('train', config, '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    output = ''.join(capfd.readouterr())
    log = max(tmp_path.glob('work_dirs/toy/*/*.log'))
    for text in (
        'tiles of 64',
        'tiles of 32',
        'UserWarning: made of glass',
        'Passed over an unreadable checkpoint: work_dirs/toy/iter_9.pth',
    ):
        assert log.read_text().count(text) == output.count(text) == 1, text
    assert logging.getLogger('stt_mm').handlers == []


def test_warnings_of_other_ranks_have_a_file_of_their_own(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('RANK', '1')
    logger = MMLogger.get_instance('rank 1 of a test')
    runner = SimpleNamespace(logger=logger, log_dir=tmp_path, timestamp='now', rank=1)
    with run_log() as log:
        logging.getLogger('stt_mm.utils').warning('early')
        assert 'early' not in ''.join(capfd.readouterr())
        log.attach(runner)
        logging.getLogger('stt_mm.utils').info('no warning')
        logging.getLogger('stt_mm.utils').warning('late')
    text = (tmp_path / 'now_rank1.log').read_text()
    assert [line.rpartition(' - ')[2] for line in text.splitlines()] == ['early', 'late']


def test_trusted_checkpoint_resumes(config, tmp_path, capfd):
    """What MMEngine's own hook writes holds history buffers."""
    call('train', config, '--cfg-options', 'default_hooks.checkpoint.type=mmengine.CheckpointHook')
    old = tmp_path / 'work_dirs' / 'toy' / 'iter_2.pth'
    line = error_of(capfd, 'train', config, '--resume', old)
    assert 'mmengine.logging.history_buffer.HistoryBuffer' in line
    assert '--trust-checkpoint' in line
    call('train', config, '--resume', old, '--trust-checkpoint', '--cfg-options', 'train_cfg.max_iters=3')
    assert 'random_states' in torch.load(old.with_name('iter_3.pth'), weights_only=True)


def test_print_config_diff(config, tmp_path, capsys):
    other = write_config(
        tmp_path,
        "model['noise'] = 0.5\ntrain_cfg['max_iters'] = 2\nfind_unused_parameters = True\n"
        "default_hooks['checkpoint']['interval'] = 1\n",
        'other.py',
    )
    call('print_config', other, '--diff', config)
    assert capsys.readouterr().out.splitlines() == [
        '+ find_unused_parameters = True',
        '- model.noise = 0.1',
        '+ model.noise = 0.5',
    ]
    call('print_config', config, '--cfg-options', 'model.noise=7')
    assert 'noise=7' in capsys.readouterr().out


def test_convert_and_publish(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    weights = ResNet(depth=18).state_dict()
    torch.save(
        dict(
            state_dict={
                **{f'module.encoder_q.{name}': value for name, value in weights.items()},
                'module.encoder_q.fc.weight': torch.zeros(2),
                'module.queue': torch.zeros(2),
            }
        ),
        'moco.tar',
    )
    call('convert_checkpoint', 'moco.tar', 'out/stage1.pth')
    assert 'source: official MoCo; ResNet-18: matched 100, missing 0, unexpected 0' in capfd.readouterr().out
    converted = torch.load('out/stage1.pth', weights_only=True)
    assert converted['meta'].keys() == {'source', 'source_sha8', 'stt_mm_version', 'dtype'}
    assert converted['state_dict'].keys() == {f'backbone.{name}' for name in weights}
    assert all(torch.equal(converted['state_dict'][f'backbone.{name}'], value) for name, value in weights.items())
    assert 'out/stage1.pth exists' in error_of(capfd, 'convert_checkpoint', 'moco.tar', 'out/stage1.pth')
    assert 'no complete ResNet-50' in error_of(capfd, 'convert_checkpoint', 'moco.tar', 'x.pth', '--depth', 50)
    assert not Path('x.pth').exists()

    training = dict(
        state_dict={**converted['state_dict'], 'teacher.conv1.weight': torch.zeros(2)},
        optimizer=dict(state=1),
        message_hub={},
        meta={},
    )
    counters = torch.arange(100)
    for place, name in enumerate(name for name in weights if name.endswith('num_batches_tracked')):
        training['state_dict'][f'backbone.{name}'] = counters[place]
    torch.save(training, 'iter_9.pth')
    for _ in range(2):
        call('convert_checkpoint', 'iter_9.pth', 'public/', '--fp16', '--publish')
    (published,) = Path('public').iterdir()
    digest = tool('convert_checkpoint').sha8(published)
    assert published.name == f'iter_9-{digest}.pth'
    content = torch.load(published, weights_only=True)
    assert content.keys() == {'state_dict', 'meta'}
    assert content['state_dict'].keys() == converted['state_dict'].keys()
    assert content['state_dict']['backbone.conv1.weight'].dtype == torch.float16
    assert all(value.untyped_storage().nbytes() == value.nbytes for value in content['state_dict'].values())
    assert content['state_dict']['backbone.layer1.0.bn1.num_batches_tracked'] == 1
    assert published.stat().st_size < 0.55 * Path('iter_9.pth').stat().st_size
    call('convert_checkpoint', 'iter_9.pth', 'public/name', '--publish')
    assert len(list(Path('public').glob('name-*.pth'))) == 1


def save_resnet(path, depth=18, geometry=None, **changes):
    """A training file, with some values of some weights changed."""
    weights = {f'backbone.{name}': value for name, value in ResNet(depth=depth).state_dict().items()}
    for name, value in changes.items():
        weights[f'backbone.{name.replace("__", ".")}'].view(-1)[3] = value
    meta = dict(iter=9) | ({} if geometry is None else dict(geometry=geometry))
    torch.save(dict(state_dict=weights, message_hub={}, meta=meta), path)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_neither_published_nor_converted(value, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save_resnet('iter_9.pth', layer2__0__conv1__weight=value)
    for name, *args in (
        ('convert_checkpoint', 'out/', '--publish'),
        ('convert_checkpoint', 'out/x.pth', '--depth', 18),
    ):
        error = error_of(capfd, name, 'iter_9.pth', *args)
        assert 'iter_9.pth: layer2.0.conv1.weight holds 1 of 73728 values that are infinite or not' in error
    assert not Path('out').exists()


def test_weights_too_large_for_float16_are_not_published_in_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save_resnet('iter_9.pth', layer3__1__bn2__running_var=70000.0)
    error = error_of(capfd, 'convert_checkpoint', 'iter_9.pth', 'out/', '--publish', '--fp16')
    assert 'float16: backbone.layer3.1.bn2.running_var holds 1 of 256' in error
    assert 'without --fp16' in error
    assert not Path('out').exists()
    call('convert_checkpoint', 'iter_9.pth', 'out/', '--publish')


def test_the_geometry_is_carried_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    geometry = dict(network='ResNet', depth=18, pool='avg', strides=[1, 1, 1, 8], stage='res4')
    save_resnet('iter_9.pth', geometry=geometry)
    call('convert_checkpoint', 'iter_9.pth', 'out/', '--publish')
    call('convert_checkpoint', next(Path('out').iterdir()), 'x.pth')
    for path in (next(Path('out').iterdir()), 'x.pth'):
        assert torch.load(path, weights_only=True)['meta']['geometry'] == geometry


def test_unexpected_weights_are_not_converted(tmp_path, monkeypatch, capfd):
    """A ResNet-34 holds every name of a ResNet-18, and more."""
    monkeypatch.chdir(tmp_path)
    save_resnet('r34.pth', depth=34)
    error = error_of(capfd, 'convert_checkpoint', 'r34.pth', 'x.pth', '--depth', 18)
    assert re.search(r'no complete ResNet-18 .*missing 0, unexpected 80.*first unexpected: layer1\.2\.bn1', error)
    assert not Path('x.pth').exists()


def test_a_prefix_is_converted(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    weights = ResNet(depth=18).state_dict()
    torch.save(dict(state_dict={f'net.encoder.{name}': value for name, value in weights.items()}), 'simclr.ckpt')
    error = error_of(capfd, 'convert_checkpoint', 'simclr.ckpt', 'x.pth')
    assert 'Prefixes in the file: state_dict.net.encoder.' in error
    call('convert_checkpoint', 'simclr.ckpt', 'x.pth', '--prefix', 'net.encoder')
    assert torch.equal(torch.load('x.pth')['state_dict']['backbone.conv1.weight'], weights['conv1.weight'])
