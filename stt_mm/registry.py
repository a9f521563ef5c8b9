"""A child of every MMEngine root registry, under the scope ``stt_mm``.

Registries that hold classes of this package know where to import them from (``locations``), so a config needs no
``custom_imports``; what is asked for by its name is imported alone. The others exist because MMEngine warns about each
kind that a scope lacks.

What is built here is checked: a wrong ``type``, a wrong argument and what another library says about the values of its
arguments is an :class:`InputError`. An error in a class of this package, or of the user's, stays as it is.
"""

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, wraps
from importlib import import_module
from types import NoneType
from typing import Any, get_args, get_type_hints

import torch
from mmengine import registry as root
from mmengine.registry import DefaultScope, Registry

from stt_mm.errors import InputError, bugs_stay, library_errors
from stt_mm.utils.checks import fits, in_words, similar

LIBRARIES = ('mmcv', 'mmengine', 'mmpretrain', 'timm', 'torch', 'torchvision')
_READ_BY_BUILDERS = {
    '_scope_',
    'constructor',
    'convert_to_iter_based',
    'epoch_length',
    'num_batch_per_epoch',
    'optimizer',
    'paramwise_cfg',
    'priority',
    'type',
}
_NUMBERS = (bool, int, float, NoneType)


def find_component(registry: Registry, name: Any, scope: str | None = None) -> Callable:
    """What a ``type`` of a config names: a registered class or function, in a scope or MMEngine's default one."""
    if not isinstance(name, str):
        if callable(name):
            return name
        raise InputError(f'The type of a {registry.name} must be a name, got {name!r}.')
    with registry.switch_scope_and_registry(scope) as scoped, library_errors(f'{name!r} is no {registry.name}'):
        found = scoped.get(name)
        if found is not None:
            return found
        tree = [scoped, *([scoped.parent] if scoped.parent is not None else [])]
    known = {known for registry in tree for known in registry.module_dict}
    raise InputError(
        f'{name!r} is not in the registry of {registry.name}s{similar(name, known)}. Correct the name, '
        'or import the module that registers it by custom_imports.'
    )


def author(component: Callable) -> str:
    """The package whose code builds a component: of a class, that of the constructor, which it may have inherited."""
    for kind in component.__mro__ if inspect.isclass(component) else ():
        if '__init__' in vars(kind):
            component = kind
            break
    return (getattr(component, '__module__', None) or '').partition('.')[0]


def wrong_arguments(component: Callable, given: Mapping[str, Any], typed: bool | None = None) -> str | None:
    """What is wrong with the arguments of a component as far as its signature tells, in words.

    Args:
        component: a class or a function.
        given: its arguments; some may lack, as builders add to what a config says.
        typed: look at the annotated types as well; ``None`` for components of this package. Elsewhere an annotation may
            say less than what a constructor takes; of MMEngine and torch, numbers must be no text, list or dict.

    Returns:
        ``None`` if it takes them all.
    """
    taken = _parameters(component)
    unknown = [name for name in given if name not in taken and name not in _READ_BY_BUILDERS]
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        named = ' and '.join(f'{name!r}{similar(name, taken)}' for name in unknown)
        return f'{component.__name__} has no argument {named}. It takes {", ".join(taken)}.'
    if typed is None:
        typed = author(component) == 'stt_mm'
    if not typed and author(component) not in ('mmengine', 'torch'):
        return None
    # Without an annotation, a default that is a number tells. A class that hands **kwargs on takes what its bases take.
    hints = {
        name: bool if isinstance(parameter.default, bool) else float
        for name, parameter in taken.items()
        if parameter.default is not None and isinstance(parameter.default, _NUMBERS)
    }
    for kind in reversed(component.__mro__) if inspect.isclass(component) else [component]:
        with suppress(NameError, TypeError):  # annotations that cannot be resolved say nothing
            hints |= get_type_hints(kind.__init__ if inspect.isclass(kind) else kind)
    unfit = [
        f'{name} must be {in_words(hints[name])}, got {value!r}'
        for name, value in given.items()
        if name in hints
        and (typed or _is_numeric(hints[name]) and not isinstance(value, _NUMBERS))
        and not fits(value, hints[name])
    ]
    return f'{component.__name__}: {"; ".join(unfit)}.' if unfit else None


def _is_numeric(hint: Any) -> bool:
    """Whether an annotated type is that of a number, or of several."""
    parts = get_args(hint)
    return all(map(_is_numeric, parts)) if parts else hint in (*_NUMBERS, torch.Tensor, Ellipsis)


def _missing_arguments(component: Callable, given: Iterable[str]) -> str | None:
    missing = [
        name
        for name, parameter in _parameters(component).items()
        if name not in given
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    return f'{component.__name__} needs the argument {" and ".join(map(repr, missing))}.' if missing else None


@cache
def _parameters(component: Callable) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(component).parameters)
    except (TypeError, ValueError):  # some functions that are written in C do not tell
        return {'': inspect.Parameter('arguments', inspect.Parameter.VAR_KEYWORD)}


def _scope_for_parts(registry: Registry) -> AbstractContextManager:
    """Where there is no default scope, as in a notebook, the parts of a component are looked up where it was found."""
    # A runner sets the scope of its config itself.
    absent = DefaultScope.get_current_instance() is None and registry.name != root.RUNNERS.name
    return DefaultScope.overwrite_default_scope(registry.scope if absent else None)


def _checked(build: Callable) -> Callable:
    """A build function of a registry whose errors tell a wrong config from a fault of the code."""

    @wraps(build)
    def checked(cfg: Any, default_args: dict | None = None, *, registry: Registry) -> Any:
        is_runner = registry.name == root.RUNNERS.name
        options = {} if default_args is None else dict(default_args=default_args)
        if isinstance(cfg, list) and registry.name == root.MODELS.name:
            return build(cfg, registry=registry, **options)
        key, usual = ('runner_type', 'Runner') if is_runner else ('type', (default_args or {}).get('type'))
        name = cfg.get(key, usual) if isinstance(cfg, dict) or is_runner else None
        if name is None:
            raise InputError(f'A {registry.name} is written as dict(type=...), got {cfg!r}.')
        component = find_component(registry, name, cfg.get('_scope_'))
        given = {} if is_runner else {**(default_args or {}), **cfg}
        if wrong := wrong_arguments(component, given):
            raise InputError(wrong)
        try:
            with (
                _scope_for_parts(registry),
                library_errors(f'{component.__name__} cannot be built')
                if author(component) in LIBRARIES
                else bugs_stay(),
            ):
                return build(cfg, registry=registry, **options)
        except (TypeError, InputError) as error:
            cause = error.__cause__ if isinstance(error, InputError) else error
            missing = _missing_arguments(component, given)
            if isinstance(cause, TypeError) and not is_runner and missing:
                raise InputError(missing) from error
            if isinstance(error, InputError) and not is_runner:
                _name_component(error, component)
            raise

    return checked


def _name_component(error: InputError, component: Callable) -> None:
    """Put the name of a component before what begins with one of its arguments, as other messages have it."""
    begins = re.match(r'(\w+)[ .:\[]', str(error))
    if begins and begins[1] in _parameters(component):
        error.args = (f'{component.__name__}: {error}',)


@contextmanager
def checked_building() -> Iterator[None]:
    """Inside, MMEngine's own registries, through which its runner builds, check as those of this package always do."""
    parents = [registry.parent for registry in ALL]
    before = [parent.build_func for parent in parents]
    for parent in parents:
        parent.build_func = _checked(parent.build_func)
    try:
        yield
    finally:
        for parent, build in zip(parents, before, strict=True):
            parent.build_func = build


class LazyRegistry(Registry):
    """Finds a name among those that its locations offer, and has no other of them imported."""

    @property
    def module_dict(self) -> dict[str, type]:
        """All that is registered here, by its name; whatever the locations offer is imported for it."""
        for location in self._locations:
            module = import_module(location)
            for name in getattr(module, '__all__', ()):
                getattr(module, name)
        return super().module_dict

    def get(self, key: str) -> type | None:
        """What is registered under a name, here or with a parent; a scope may stand before it."""
        with warnings.catch_warnings():
            # mmcv-lite, which mmpretrain imports, warns about a compiled operator that nothing here uses.
            warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
            for location in self._locations:
                getattr(import_module(location), key.removeprefix(f'{self.scope}.'), None)
            found = super().get(key)
            # A part below may have registered more than its package offers.
            return super().get(key) if found is None and self.module_dict else found


def _child(parent: Registry, *locations: str) -> LazyRegistry:
    return LazyRegistry(
        parent.name,
        _checked(parent.build_func),
        parent=parent,
        scope='stt_mm',
        locations=[f'stt_mm.{name}' for name in locations],
    )


DATASETS = _child(root.DATASETS, 'datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'datasets.transforms')
MODELS = _child(root.MODELS, 'models')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'models')
METRICS = _child(root.METRICS, 'evaluation.metrics')
HOOKS = _child(root.HOOKS, 'engine')
LOOPS = _child(root.LOOPS, 'engine')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'engine')
VISUALIZERS = _child(root.VISUALIZERS, 'visualization')

EVALUATORS = _child(root.EVALUATOR)
FUNCTIONS = _child(root.FUNCTIONS)
INFERENCERS = _child(root.INFERENCERS)
LOG_PROCESSORS = _child(root.LOG_PROCESSORS)
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS)
OPTIMIZERS = _child(root.OPTIMIZERS)
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)
RUNNER_CONSTRUCTORS = _child(root.RUNNER_CONSTRUCTORS)
RUNNERS = _child(root.RUNNERS, 'engine')
STRATEGIES = _child(root.STRATEGIES)
TASK_UTILS = _child(root.TASK_UTILS)
VISBACKENDS = _child(root.VISBACKENDS)
ALL = tuple(value for value in list(globals().values()) if isinstance(value, Registry))
