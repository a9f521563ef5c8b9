"""Values of configs, from the least one that is accepted on."""

import inspect

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from test_engine.toy_project import CONFIG

from stt_mm.engine import load_config, load_model_config
from stt_mm.engine.config import KNOWN_KEYS
from stt_mm.engine.config_checks import check_components, check_validation
from stt_mm.errors import InputError

SCHEDULER = dict(param_scheduler=[dict(type='ConstantLR', factor=0.5), dict(type='StepLR', step_size=1)])


def checked(changes, **whole):
    cfg = Config.fromstring(CONFIG, '.py')
    cfg.merge_from_dict(dict(model=dict(type='ToyModel', noise=0.1)))
    for key, value in whole.items():
        cfg[key] = value
    cfg.merge_from_dict(changes)
    check_components(cfg)


@pytest.mark.parametrize(
    ('key', 'least'),
    [
        ('train_dataloader.batch_size', 1),
        ('val_dataloader.batch_size', 1),
        ('train_dataloader.num_workers', 0),
        ('train_dataloader.prefetch_factor', 1),
        ('param_scheduler.T_max', 1),
        ('log_processor.window_size', 1),
        ('auto_scale_lr.base_batch_size', 1),
        ('randomness.seed', 0),
    ],
)
def test_numbers_have_a_least_value(key, least):
    checked({key: least})
    with pytest.raises(InputError, match=rf'{key} must be .* got {least - 1}'):
        checked({key: least - 1})


def test_the_greatest_seed_and_none():
    checked({'randomness.seed': 2**32 - 1})
    checked({'randomness.seed': None})
    checked({'train_dataloader.prefetch_factor': None})
    with pytest.raises(InputError, match=r'randomness\.seed must be between 0 and 4294967295, got 4294967296'):
        checked({'randomness.seed': 2**32})
    for lacking in ({}, dict(deterministic=True)):
        with pytest.raises(InputError, match='randomness must have a seed'):
            checked({}, randomness=lacking)


@pytest.mark.parametrize(
    ('changes', 'whole', 'message'),
    [
        ({'param_scheduler.1.step_size': 0}, SCHEDULER, r'param_scheduler\.1\.step_size must be .* got 0'),
        ({'param_scheduler.0.type': 'ConstLR'}, SCHEDULER, r"param_scheduler\.0\.type: 'ConstLR' is not"),
        (
            {},
            dict(custom_hooks=[dict(type='StopSignalHook', sync=1)]),
            r'custom_hooks\.0: StopSignalHook has no argument',
        ),
        (
            {},
            dict(val_evaluator=[dict(type='ToyMetric'), dict(type='ToyMetrik')]),
            r"val_evaluator\.1\.type: 'ToyMetrik'",
        ),
        (
            {},
            dict(val_evaluator=dict(type='Evaluator', metrics=[dict(type='ToyMetrik')])),
            r"val_evaluator\.metrics\.0\.type: 'ToyMetrik'",
        ),
        (
            {},
            dict(visualizer=dict(type='Visualizer', vis_backends=[dict(type='Backend')])),
            r"visualizer\.vis_backends\.0\.type: 'Backend'",
        ),
        ({'val_dataloader.sampler': 3}, {}, r'val_dataloader\.sampler is written as'),
        ({}, dict(train_cfg=dict(type='ValLoop')), r"train_cfg\.type: 'ValLoop' is a loop for another key"),
        ({'val_cfg.type': 'TestLoop'}, {}, r"val_cfg\.type: 'TestLoop' is a loop for another key"),
        ({'test_cfg.type': 'IterLoop'}, {}, r"test_cfg\.type: 'IterLoop' is a loop for another key"),
        ({'optim_wrapper.clip_grad': dict(max_norm=-1)}, {}, r'optim_wrapper\.clip_grad\.max_norm must be .* got -1'),
        ({'optim_wrapper.clip_grad': dict(type='value', clip_value=0)}, {}, r'clip_grad\.clip_value must be .* got 0'),
        ({'optim_wrapper.clip_grad': dict(max_norm='x')}, {}, r'optim_wrapper\.clip_grad: .*max_norm must'),
        ({'optim_wrapper.clip_grad': dict(type='norm', max_nrm=1)}, {}, r"no argument 'max_nrm'"),
        (
            {'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(bias=dict(decay_mul=0)))},
            {},
            r"custom_keys\.bias has no key 'decay_mul' \(did you mean 'decay_mult'",
        ),
        ({'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(bias=dict(fix_lr=3)))}, {}, r'bias\.fix_lr must be'),
    ],
)
def test_places_are_named_in_lists_too(changes, whole, message):
    with pytest.raises(InputError, match=message):
        checked(changes, **whole)


@pytest.mark.parametrize(
    ('changes', 'whole'),
    [
        ({}, {}),
        ({}, SCHEDULER),
        ({}, dict(val_cfg=None, val_dataloader=None, val_evaluator=None)),
        (
            {},
            dict(custom_hooks=[dict(type='StopSignalHook', priority=100), dict(type='FiniteLossHook', priority='LOW')]),
        ),
        ({'default_hooks.timer': None}, {}),
        ({'optim_wrapper.clip_grad': dict(type='value', clip_value=1)}, {}),
        ({'optim_wrapper.clip_grad': dict(max_norm=1, norm_type='inf')}, {}),
        ({'optim_wrapper.constructor': 'Mine', 'optim_wrapper.paramwise_cfg': dict(mine=3)}, {}),
        ({'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(bias=dict(lr=1, weight_decay=0, mark='x')))}, {}),
        ({}, dict(val_evaluator=dict(type='Evaluator', metrics=[dict(type='ToyMetric')]))),
        ({'env_cfg.mp_cfg': dict(mp_start_method='fork', opencv_num_threads=0)}, {}),
    ],
)
def test_what_is_right_passes(changes, whole):
    checked(changes, **whole)


def test_a_validation_is_whole_or_not_there():
    parts = dict(val_dataloader={}, val_cfg={}, val_evaluator={})
    check_validation(Config(parts))
    check_validation(Config(dict.fromkeys(parts)))
    check_validation(Config({}))
    for name in parts:
        with pytest.raises(InputError, match=f'; {name} is missing'):
            check_validation(Config(parts | {name: None}))
        with pytest.raises(InputError, match=' and .* is missing'):
            check_validation(Config({name: {}}))


def test_the_known_keys_are_those_that_the_runner_reads():
    arguments = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    assert arguments <= KNOWN_KEYS
    source = inspect.getsource(inspect.getmodule(Runner))
    assert all(f"cfg.get('{key}'" in source for key in KNOWN_KEYS - arguments - {'custom_imports', 'model_wrapper_cfg'})


def test_of_a_model_config_the_model_alone_is_checked(tmp_path):
    path = tmp_path / 'a.py'
    model = "model = dict(type='ColorPatches', size={})\n"
    path.write_text(model.format(3) + "test_dataloader = dict(batch_size=1, dataset=dict(type='NoSuchDataset'))\n")
    assert load_model_config(path, {'model.size': 5}).model == dict(type='ColorPatches', size=5)
    with pytest.raises(InputError, match="'NoSuchDataset' is not in the registry"):
        load_config(path)
    path.write_text(model.format("'a'"))
    with pytest.raises(InputError, match="model: ColorPatches: size must be an integer, got 'a'"):
        load_model_config(path)
    path.write_text(model.format(3) + 'modle = 1\n')
    with pytest.raises(InputError, match="top-level keys that nothing reads: 'modle' .did you mean 'model'"):
        load_model_config(path)
