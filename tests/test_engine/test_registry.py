"""What the registries say about arguments before anything is built, and about what cannot be built."""

import functools

import pytest
import torch
from mmengine import registry as root
from mmengine.hooks import LoggerHook
from torch import nn
from torch.optim import SGD, Adam

from stt_mm import registry
from stt_mm.engine import FiniteLossHook
from stt_mm.errors import InputError
from stt_mm.registry import (
    HOOKS,
    MODELS,
    OPTIMIZERS,
    RUNNERS,
    author,
    checked_building,
    find_component,
    wrong_arguments,
)


@pytest.mark.parametrize(
    ('component', 'given', 'message'),
    [
        (FiniteLossHook, dict(limit=3), None),
        (FiniteLossHook, dict(limit=3, priority='LOW', type='FiniteLossHook', _scope_='stt_mm'), None),
        (
            FiniteLossHook,
            dict(limt=3),
            r"FiniteLossHook has no argument 'limt' (did you mean 'limit'?). It takes limit.",
        ),
        (FiniteLossHook, dict(limit='x'), "FiniteLossHook: limit must be an integer, got 'x'."),
        (FiniteLossHook, dict(limit=2.5), 'FiniteLossHook: limit must be an integer, got 2.5.'),
        # Of others, what is a number must be none of another kind; which number is theirs to say.
        (LoggerHook, dict(interval='x'), "LoggerHook: interval must be an integer, got 'x'."),
        (LoggerHook, dict(interval=2.5), None),
        (LoggerHook, dict(out_suffix='.log', out_dir=['a']), None),
        (SGD, dict(lr='x'), 'SGD: lr must be '),
        (SGD, dict(lr=1, momentum=[1]), 'SGD: momentum must be '),
        (SGD, dict(lr=0.1, nesterov=True), None),
        (Adam, dict(betas=(0.9, 0.99)), None),
        (Adam, dict(betas=('a', 'b')), 'Adam: betas must be '),
        (SGD, dict(lr=torch.tensor(0.1)), None),
        (nn.Conv2d, dict(kernel_size='x'), 'Conv2d: kernel_size must be '),
        (nn.Conv2d, dict(kernel_size=(3, 3)), None),
        (nn.Conv2d, dict(padding='same', device='cpu'), None),
        (pytest.raises, dict(match=3), None),
        (max, dict(anything=3), None),
    ],
)
def test_arguments_as_far_as_a_signature_tells(component, given, message):
    found = wrong_arguments(component, given)
    assert found == message or (message and message.endswith('be ') and found.startswith(message))


def test_types_can_be_asked_for():
    assert wrong_arguments(LoggerHook, dict(interval=2.5), typed=True) == (
        'LoggerHook: interval must be an integer, got 2.5.'
    )
    assert wrong_arguments(FiniteLossHook, dict(limit='x'), typed=False) is None


class Parent:
    def __init__(self, width: int = 1):
        pass


class Child(Parent):
    def __init__(self, depth: int = 1, **kwargs):
        super().__init__(**kwargs)


class Heir(Parent):
    pass


def test_a_class_that_hands_arguments_on_takes_those_of_its_bases():
    assert wrong_arguments(Child, dict(width=1, depth=2, more=3), typed=True) is None
    assert wrong_arguments(Child, dict(width='x'), typed=True) == "Child: width must be an integer, got 'x'."
    assert wrong_arguments(Heir, dict(zzz=1)) == "Heir has no argument 'zzz'. It takes width."


@pytest.mark.parametrize(
    ('component', 'package'),
    [
        (FiniteLossHook, 'stt_mm'),
        (LoggerHook, 'mmengine'),
        (SGD, 'torch'),
        (Parent, Parent.__module__.split('.')[0]),
        (functools.partial(max), 'functools'),
        (''.join, ''),
        (type('Mine', (LoggerHook,), dict(__module__='mine')), 'mmengine'),
        (type('Mine', (LoggerHook,), dict(__module__='mine', __init__=lambda self: None)), 'mine'),
    ],
)
def test_the_author_is_who_wrote_the_constructor(component, package):
    assert author(component) == package


def test_components_by_name_scope_or_themselves():
    assert find_component(HOOKS, 'FiniteLossHook') is FiniteLossHook
    assert find_component(HOOKS, 'LoggerHook', 'stt_mm') is LoggerHook
    assert find_component(HOOKS, 'mmengine.LoggerHook') is LoggerHook
    assert find_component(HOOKS, FiniteLossHook) is FiniteLossHook
    with pytest.raises(InputError, match=r"'FiniteLosHook' is not in the registry of hooks \(did you mean 'FiniteLo"):
        find_component(HOOKS, 'FiniteLosHook', 'stt_mm')
    with pytest.raises(InputError, match=r"'LogerHook' is not in .* \(did you mean 'LoggerHook'"):
        find_component(HOOKS, 'LogerHook', 'stt_mm')
    with pytest.raises(InputError, match='The type of a hook must be a name, got 3'):
        find_component(HOOKS, 3)


@pytest.mark.parametrize(
    ('kind', 'cfg', 'message'),
    [
        (HOOKS, dict(type='FiniteLossHook', limt=1), "FiniteLossHook has no argument 'limt'"),
        (HOOKS, dict(type='FiniteLossHook', limit=0), 'FiniteLossHook: limit must be a whole number of at least 1'),
        (MODELS, dict(type='VideoNegatives', momentum=0), r'^VideoNegatives: momentum must be positive, got 0\.$'),
        (MODELS, dict(type='PositionMap', channels=3, size=(0, 2)), r'^PositionMap: size must be .* got 0\.$'),
        # What is inside of another names itself alone.
        (
            MODELS,
            dict(type='CorrespondenceResNet', depth=18, position=dict(type='PositionMap', channels=0)),
            r'^PositionMap: channels must be .* got 0\.$',
        ),
        (HOOKS, dict(limit=1), r'A hook is written as dict\(type=\.\.\.\), got \{'),
        (HOOKS, 3, r'A hook is written as dict\(type=\.\.\.\), got 3'),
        (OPTIMIZERS, dict(type='SGD', lr=-1.0, params=[torch.ones(1)]), 'SGD cannot be built: ValueError: Invalid'),
        (OPTIMIZERS, dict(type='SGD', lr=1.0), r"SGD needs the argument 'params'\.$"),
        (OPTIMIZERS, dict(type='Adam', lr='x', params=[torch.ones(1)]), 'Adam: lr must be'),
        (HOOKS, [dict(type='FiniteLossHook')], r'A hook is written as dict\(type=\.\.\.\), got \['),
    ],
)
def test_what_cannot_be_built_is_an_input_error(kind, cfg, message):
    with pytest.raises(InputError, match=message):
        kind.build(cfg)


def test_what_is_built_gets_defaults_and_lists():
    assert HOOKS.build(dict(type='FiniteLossHook'), default_args=dict(limit=4)).limit == 4
    assert HOOKS.build(dict(limit=5), default_args=dict(type='FiniteLossHook')).limit == 5
    with pytest.raises(InputError, match='FiniteLossHook: limit must be an integer'):
        HOOKS.build(dict(type='FiniteLossHook'), default_args=dict(limit='x'))
    built = MODELS.build([dict(type=nn.Identity), dict(type=nn.Flatten)])
    assert [type(part) for part in built] == [nn.Identity, nn.Flatten]


def test_registries_of_mmengine_check_only_inside():
    before = [kind.parent.build_func for kind in registry.ALL]
    with pytest.raises(InputError, match="LoggerHook has no argument 'intervall'"), checked_building():
        root.HOOKS.build(dict(type='LoggerHook', intervall=1))
    assert [kind.parent.build_func for kind in registry.ALL] == before
    with pytest.raises(TypeError):
        root.HOOKS.build(dict(type='LoggerHook', intervall=1))


def test_every_registry_of_mmengine_has_a_child():
    theirs = {kind for kind in vars(root).values() if isinstance(kind, root.Registry)}
    assert {kind.parent for kind in registry.ALL} == theirs
    assert all(kind.scope == 'stt_mm' and kind.name == kind.parent.name for kind in registry.ALL)


def test_a_runner_gets_its_config_as_it_is_and_keeps_its_errors(monkeypatch):
    class Broken:
        def __init__(self, model):
            pass

        @classmethod
        def from_cfg(cls, cfg):
            raise TypeError('a fault of the code')

    monkeypatch.setitem(RUNNERS.module_dict, 'Broken', Broken)
    with pytest.raises(TypeError, match='a fault of the code'):
        RUNNERS.build(dict(runner_type='Broken', anything=3))


@pytest.mark.parametrize(
    ('name', 'modules'),
    [
        ('DATASETS', ['datasets']),
        ('DATA_SAMPLERS', ['datasets']),
        ('TRANSFORMS', ['datasets.transforms']),
        ('MODELS', ['models']),
        ('WEIGHT_INITIALIZERS', ['models']),
        ('METRICS', ['evaluation.metrics']),
        ('HOOKS', ['engine']),
        ('LOOPS', ['engine']),
        ('OPTIM_WRAPPERS', ['engine']),
        ('VISUALIZERS', ['visualization']),
        ('RUNNERS', ['engine']),
        ('EVALUATORS', []),
    ],
)
def test_registries_know_where_to_import_their_classes_from(name, modules):
    assert getattr(registry, name)._locations == [f'stt_mm.{module}' for module in modules]


def test_defaults_that_are_numbers_tell_where_there_are_no_annotations():
    class Mine:
        def __init__(self, width=1, fast=False, other=None, ratio=0.5):
            pass

    Mine.__module__ = 'torch.mine'
    assert wrong_arguments(Mine, dict(width=2.5, fast=True, other='x', ratio=1)) is None
    assert wrong_arguments(Mine, dict(width=[1])) == 'Mine: width must be a finite number, got [1].'
    assert wrong_arguments(Mine, dict(fast='x', ratio='y')) == (
        "Mine: fast must be True or False, got 'x'; ratio must be a finite number, got 'y'."
    )
    Mine.__module__ = 'elsewhere'
    assert wrong_arguments(Mine, dict(width='x')) is None
