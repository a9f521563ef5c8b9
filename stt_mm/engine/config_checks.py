"""What the values of a config must be, as far as it can be told before anything is built.

MMEngine's runner is imported only where a whole config is checked: inference asks for the model's alone.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypedDict, get_type_hints

from mmengine.config import Config
from mmengine.registry import Registry
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

import stt_mm.registry as registry
from stt_mm.errors import InputError, library_errors
from stt_mm.utils.checks import check_count, check_number, check_value, similar

# What the dicts of these top-level keys are and what they are without a type, and what those below them are, down to
# the next of the inner keys.
_OUTER = {
    'model': (registry.MODELS, None),
    'optim_wrapper': (registry.OPTIM_WRAPPERS, 'OptimWrapper'),
    'param_scheduler': (registry.PARAM_SCHEDULERS, None),
    'train_cfg': (registry.LOOPS, None),
    'val_cfg': (registry.LOOPS, 'ValLoop'),
    'test_cfg': (registry.LOOPS, 'TestLoop'),
    'val_evaluator': (registry.METRICS, None),
    'test_evaluator': (registry.METRICS, None),
    'default_hooks': (registry.HOOKS, None),
    'custom_hooks': (registry.HOOKS, None),
    'visualizer': (registry.VISUALIZERS, 'Visualizer'),
    'log_processor': (registry.LOG_PROCESSORS, 'LogProcessor'),
}
_INNER = {
    'optimizer': registry.OPTIMIZERS,
    'dataset': registry.DATASETS,
    'pipeline': registry.TRANSFORMS,
    'sampler': registry.DATA_SAMPLERS,
    'batch_sampler': registry.DATA_SAMPLERS,
    'collate_fn': registry.FUNCTIONS,
    'worker_init_fn': registry.FUNCTIONS,
    'vis_backends': registry.VISBACKENDS,
    'metrics': registry.METRICS,
    'model': registry.MODELS,
    'network': None,  # of another library, which is looked up there when it is built
}
# Components that consist of others of their kind. A dict below another one is an argument.
_NESTED = (registry.MODELS, registry.TRANSFORMS, registry.HOOKS)
_NEEDED = {'optimizer', 'dataset', 'collate_fn'}
_COUNTS = {
    'batch_size': 1,
    'num_workers': 0,
    'prefetch_factor': 1,
    'T_max': 1,
    'step_size': 1,
    'window_size': 1,
    'base_batch_size': 1,
}
_LOOPS = {
    'train_cfg': ('EpochBasedTrainLoop', 'IterBasedTrainLoop'),
    'val_cfg': ('ValLoop',),
    'test_cfg': ('TestLoop',),
}


class _Randomness(TypedDict, total=False):
    seed: int | None
    diff_rank_seed: bool
    deterministic: bool


class _Processes(TypedDict, total=False):
    mp_start_method: Literal['fork', 'spawn', 'forkserver']
    opencv_num_threads: int


class _Distribution(TypedDict, total=False):
    backend: str
    init_backend: str
    init_method: str | None
    timeout: float | None
    port: int | None
    world_size: int
    rank: int


class _Environment(TypedDict, total=False):
    cudnn_benchmark: bool
    mp_cfg: _Processes
    dist_cfg: _Distribution
    resource_limit: int


class _Group(TypedDict, total=False):
    lr_mult: float
    decay_mult: float
    fix_lr: bool


class _Paramwise(TypedDict, total=False):
    custom_keys: dict[str, dict]
    bias_lr_mult: float | None
    bias_decay_mult: float | None
    norm_decay_mult: float | None
    flat_decay_mult: float | None
    dwconv_decay_mult: float | None
    dcn_offset_lr_mult: float | None
    bypass_duplicate: bool


class _Scale(TypedDict, total=False):
    enable: bool
    base_batch_size: int


class _Settings(TypedDict, total=False):
    """Those that are no components, of which MMEngine reads what it knows and passes over the rest."""

    randomness: _Randomness
    env_cfg: _Environment
    sync_bn: Literal['torch', 'mmcv'] | None
    find_unused_parameters: bool
    model_wrapper_cfg: dict | None
    compile: bool | dict
    efficient_conv_bn_eval: list[str] | None
    activation_checkpointing: list[str] | None
    auto_scale_lr: _Scale | None
    log_level: Literal['CRITICAL', 'FATAL', 'ERROR', 'WARNING', 'WARN', 'INFO', 'DEBUG', 'NOTSET'] | int


def check_components(cfg: Config) -> None:
    """Refuse what names no component, or gives one an argument that it does not take, before anything is built.

    Looked at are this toolbox's and MMEngine's components; what is below one of another library is that library's.
    """
    from mmengine.runner import Runner

    own = {key: value for key, value in cfg.items() if key in inspect.signature(Runner.__init__).parameters}
    settings = get_type_hints(_Settings)
    for key in cfg.keys() & settings.keys():
        check_value(key, cfg[key], settings[key])
    typed = {key: value for key, value in own.items() if key not in settings}
    _refuse(cfg.filename or 'The config', registry.wrong_arguments(Runner, typed, typed=True))
    if 'seed' not in cfg.get('randomness', dict(seed=None)):
        raise InputError('randomness must have a seed: a number, or None for one by chance.')
    seed = (cfg.get('randomness') or {}).get('seed')
    if not 0 <= (seed or 0) < 2**32:
        raise InputError(f'randomness.seed must be between 0 and {2**32 - 1}, got {seed}.')
    for key in own:
        kind, usual = _OUTER.get(key, (None, None))
        _check_node(cfg[key], key, kind, usual)
    _check_optimizer(cfg.get('optim_wrapper') or {})


def check_model(cfg: Config) -> None:
    """As :func:`check_components`, of the model alone."""
    _check_node(cfg.get('model'), 'model', registry.MODELS)


def check_validation(cfg: Config) -> None:
    """Refuse a training config that says a part only of what a validation needs."""
    keys = [f'val_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
    lacking = [key for key in keys if cfg.get(key) is None]
    if 0 < len(lacking) < len(keys):
        raise InputError(
            f'A validation needs {", ".join(keys)}; {" and ".join(lacking)} is missing. Set it, or set '
            'all of them to None to train without validation.'
        )


def _refuse(place: str, wrong: str | None) -> None:
    if wrong:
        raise InputError(f'{place}: {wrong}')


def _check_optimizer(wrapper: dict) -> None:
    """Look at what says how the gradients are clipped and which parameters learn otherwise."""
    clip = wrapper.get('clip_grad')
    if isinstance(clip, dict) and clip.get('type', 'norm') == 'norm':
        finite = {key: value for key, value in clip.items() if value not in ('inf', float('inf'))}
        _refuse('optim_wrapper.clip_grad', registry.wrong_arguments(clip_grad_norm_, finite, typed=True))
    for key in {'max_norm', 'clip_value'} & (clip.keys() if isinstance(clip, dict) else set()):
        if clip[key] != float('inf'):  # Below 0 the gradients would point the other way.
            check_number(f'optim_wrapper.clip_grad.{key}', clip[key], above=0)
    paramwise = wrapper.get('paramwise_cfg')
    if paramwise is None or 'constructor' in wrapper:
        return
    place, hints = 'optim_wrapper.paramwise_cfg', get_type_hints(_Group)
    check_value(place, paramwise, _Paramwise)
    known = hints.keys() | {'lr', 'weight_decay'}
    for name, group in (paramwise.get('custom_keys') or {}).items():
        # Optimizers and hooks may read marks of their own.
        unknown = [f'{key!r}{similar(key, known)}' for key in group if key not in known and similar(key, known)]
        if unknown:
            raise InputError(f'{place}.custom_keys.{name} has no key {" and ".join(unknown)}.')
        check_value(f'{place}.custom_keys.{name}', {key: group[key] for key in group if key in hints}, _Group)


def _check_parts(component: Callable, node: dict, place: str) -> None:
    """Refuse a part without a type; what this package annotates as a plain dict is built from one."""
    for key, parameter in inspect.signature(component).parameters.items():
        if key == 'data_preprocessor' or parameter.annotation not in (dict, dict | None, dict | list | None):
            continue
        for part in node[key] if isinstance(node.get(key), list | tuple) else [node.get(key)]:
            if isinstance(part, dict) and 'type' not in part:
                raise InputError(f'{place}.{key} is written as dict(type=...), got {part!r}.')


def _check_hook(node: Any, place: str) -> None:
    """Refuse what is neither a hook nor says how to build one, and a priority that there is not."""
    from mmengine.hooks import Hook
    from mmengine.runner.priority import get_priority

    if place.count('.') == 1 and not isinstance(node, dict | Hook | None):
        raise InputError(f'{place} is written as dict(type=...), got {node!r}.')
    if isinstance(node, dict) and 'priority' in node:
        with library_errors(f'{place}.priority must be a name such as LOW, or 0 to 100, got {node["priority"]!r}'):
            get_priority(node['priority'])


def _check_node(node: Any, place: str, kind: Registry | None, usual: str | None = None) -> None:
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            _check_node(item, f'{place}.{index}', kind)
    if kind is registry.HOOKS:
        _check_hook(node, place)
    if not isinstance(node, dict):
        return
    if 'dataset' in node and 'batch_size' in node:
        _refuse(place, registry.wrong_arguments(DataLoader, node))
    if 'dataset' in node or kind in (registry.PARAM_SCHEDULERS, registry.LOG_PROCESSORS) or place == 'auto_scale_lr':
        for key in _COUNTS.keys() & node.keys():
            if node[key] is not None:
                check_count(f'{place}.{key}', node[key], _COUNTS[key])
    name = node.get('type', usual)
    if kind is not None and name is not None:
        try:
            component = registry.find_component(registry.EVALUATORS if 'metrics' in node else kind, name, 'stt_mm')
        except InputError as error:
            raise InputError(f'{place}.type: {error}') from error
        _refuse(place, registry.wrong_arguments(component, node))
        others = {loop for key, loops in _LOOPS.items() if key != place for loop in loops}
        if place in _LOOPS and others & {base.__name__ for base in getattr(component, '__mro__', ())}:
            raise InputError(f'{place}.type: {name!r} is a loop for another key.')
        if registry.author(component) == 'stt_mm':
            _check_parts(component, node, place)
        if (component.__module__ or '').partition('.')[0] not in ('stt_mm', 'mmengine', 'mmcv'):
            return
    for key in node.keys() & _INNER.keys():
        if isinstance(node[key], bool | int | float | str) or node[key] is None and key in _NEEDED:
            raise InputError(f'{place}.{key} is written as dict(type=...), got {node[key]!r}.')
    inherited = kind if kind in _NESTED and (kind is not registry.HOOKS or name is None) else None
    for key, item in node.items():
        if key in _INNER or not key.endswith('_cfg'):
            _check_node(item, f'{place}.{key}', _INNER.get(key, inherited))
