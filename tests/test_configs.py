"""Every shipped config loads, builds, survives a round trip, and says what it changes."""

import csv
import inspect
import json
import math
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from tiny_data import texture, write_image

from stt_mm.engine import check_keys, load_config
from stt_mm.models import EWCPenalty, Joint
from stt_mm.protocols import PRESETS
from stt_mm.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

init_default_scope('stt_mm')
ROOT = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py') if '_base_' not in path.parts)
ABLATIONS = [name for name in CONFIGS if name.startswith('ablations/')]
# Trained on images alone.
PRETRAIN = [
    name
    for name in CONFIGS
    if name.startswith(('pretrain/', 'continual/temporal_then_spatial')) and '_first' not in name
]


def flatten(value, prefix=''):
    """Leaves of nested dicts by dotted key; a list is one leaf."""
    if not isinstance(value, dict):
        return {prefix: value}
    leaves = {}
    for key, item in value.items():
        leaves |= flatten(item, f'{prefix}.{key}' if prefix else key)
    return leaves


def without_checkpoints(node):
    """The config with every pretrained path removed."""
    if isinstance(node, dict):
        if isinstance(node.get('init_cfg'), dict):
            node['init_cfg'] = None
        for item in node.values():
            without_checkpoints(item)


def fill_penalty(model, folder):
    """What a penalty reads from its file, made up: weights a little off those of the backbone, a queue of 8 keys."""
    penalty = getattr(model, 'penalty', None)
    if isinstance(penalty, EWCPenalty):
        parameters = dict(model.backbone.named_parameters())
        penalty.fisher = {key: torch.rand_like(value) for key, value in parameters.items()}
        penalty.reference = {key: value.detach() - 0.1 for key, value in parameters.items()}
    elif penalty is not None:
        weights = {name: value for name, value in penalty.old.state_dict().items() if 'queue' not in name}
        penalty.checkpoint = str(folder / 'stage1.pth')
        torch.save(dict(state_dict=weights | dict(queue=torch.eye(128)[:, :8])), penalty.checkpoint)
        penalty.init_weights()


def check_arguments(registry, node):
    """A component's arguments are those of its constructor."""
    settings = dict(node)
    target = registry.get(settings.pop('type'))
    accepted = inspect.signature(target).parameters
    assert set(settings) <= set(accepted), f'{target.__name__} takes {list(accepted)}'


def changed(name):
    """Dotted keys in which a config differs from its base."""
    cfg = Config.fromfile(ROOT / name)
    text = (ROOT / name).read_text()
    base = text.split("_base_ = '")[1].split("'")[0]
    ours, theirs = flatten(cfg.to_dict()), flatten(Config.fromfile((ROOT / name).parent / base).to_dict())
    return {key for key in ours.keys() | theirs.keys() if ours.get(key, 'absent') != theirs.get(key, 'absent')}


def found_below(node, part):
    """Every dict below a node whose type has this in its name."""
    if isinstance(node, dict):
        if part in str(node.get('type')):
            yield node
        node = list(node.values())
    for item in node if isinstance(node, (list, tuple)) else ():
        yield from found_below(item, part)


def text(value):
    return ' '.join(map(str, value)) if isinstance(value, (list, tuple)) else '' if value is None else str(value)


def schedule(cfg):
    steps = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    parts = (
        f'{step.type} '
        + ' '.join(f'{key} {text(value)}' for key, value in sorted(step.items()) if key not in ('type', 'by_epoch'))
        for step in steps
    )
    return '; '.join(parts) + ('; by epoch' if any(step.get('by_epoch', True) for step in steps) else '')


def training_row(cfg):
    """The numbers of a training, as the table has them."""
    optimizer, dataset = cfg.optim_wrapper.optimizer, cfg.train_dataloader.dataset
    images = cfg.train_cfg.get('image_dataloader') or {}
    crops = [
        f'{crop["type"]} '
        + ' '.join(
            text(crop.get(key))
            for key in ('size', 'scale', 'area', 'crop_ratio_range', 'aspect', 'aspect_ratio_range')
            if crop.get(key) is not None
        )
        for crop in found_below([dataset.to_dict(), images], 'Crop')
    ]
    numbers = dict(
        optimizer=optimizer.type,
        lr=optimizer.lr,
        weight_decay=optimizer.weight_decay,
        momentum=optimizer.get('betas', optimizer.get('momentum')),
        batch=cfg.train_dataloader.batch_size,
        base_batch=cfg.auto_scale_lr.base_batch_size,
        image_batch=images.get('batch_size'),
        iterations=cfg.train_cfg.max_iters,
        validation=cfg.train_cfg.val_interval,
        schedule=schedule(cfg),
        crops='; '.join(sorted(crops)),
        split=dataset.get('split'),
        clip=dataset.get('clip_length'),
        interval=dataset.get('interval'),
        protocol=cfg.val_cfg.get('model', cfg.model).propagator.protocol.name,
    )
    return {key: text(value) for key, value in numbers.items()}


def evaluation_row(cfg):
    """What a benchmark is evaluated on and with, as the table has it."""
    dataset, protocol = cfg.test_dataloader.dataset, dict(cfg.model.propagator.protocol)
    networks = [cfg.model.backbone] if 'backbone' in cfg.model else cfg.model.backbones
    settings = ('depth', 'geometry', 'padding_mode', 'model_name', 'size', 'stride')
    geometry = ['/'.join(text(network[key]) for key in settings if key in network) for network in networks]
    values = dict(
        dataset=dataset.type,
        year=dataset.get('year'),
        split=dataset.get('split'),
        labels=dataset.get('labels'),
        metric=cfg.test_evaluator.type,
        protocol=protocol.pop('name'),
        changed=' '.join(f'{key} {text(value)}' for key, value in sorted(protocol.items())),
        network='; '.join(geometry),
        stage=cfg.model.get('feature_stage', cfg.model.get('feature_stages')),
        colors=cfg.model.get('colors'),
        weights=cfg.model.get('weights'),
    )
    return {key: text(value) for key, value in values.items()}


@cache
def table(kind):
    """Rows by the name of their config."""
    path = Path(__file__).parent / 'data' / f'{kind}_configs.csv'
    with open(path, newline='', encoding='utf-8') as file:
        return {row.pop('config'): row for row in csv.DictReader(file)}


def stride(model):
    """Pixels per cell of the features that a model compares."""
    frame = torch.zeros(1, 3 * len(getattr(model, 'backbones', [0])), 64, 64)
    with torch.no_grad():
        return 64 / model.eval().extract_feat(frame)[model.feature_stage].shape[-1]


def numbers(cfg):
    """Every number and switch of a config's model, data and loops, by its dotted key."""
    parts = ('model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'val_cfg')
    leaves = flatten({part: cfg.to_dict().get(part) for part in parts})
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in leaves.items()
        if isinstance(value, (bool, int, float, list, tuple)) and 'init_cfg' not in key
    }


@cache
def config_numbers():
    """Weights, temperatures, windows, queues, widths; batches, crops, strengths of colours, frames of a validation."""
    return json.loads((Path(__file__).parent / 'data' / 'config_numbers.json').read_text())


def test_the_tables_have_every_config():
    assert list(config_numbers()) == CONFIGS
    evaluations = [name for name in CONFIGS if name.startswith('eval/')]
    assert list(table('evaluation')) == evaluations
    assert list(table('training')) == [name for name in CONFIGS if name not in evaluations]


@pytest.mark.parametrize('name', CONFIGS)
def test_config_loads_builds_and_round_trips(name, tmp_path, monkeypatch):
    """With the numbers of the table: each stands in two places, so that none is changed by a slip of the keyboard."""
    # The layout of the dumped text takes longer than everything else together.
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **options: (text, True))
    cfg = load_config(ROOT / name)
    kind, row = ('evaluation', evaluation_row) if name.startswith('eval/') else ('training', training_row)
    assert name not in table(kind) or row(cfg) == table(kind)[name]
    assert name not in config_numbers() or json.loads(json.dumps(numbers(cfg))) == config_numbers()[name]
    assert cfg.default_scope == 'stt_mm'
    check_keys(cfg)
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()
    without_checkpoints(cfg.model)
    model = MODELS.build(cfg.model)
    # Stage 1 is watched by a model of its own.
    evaluated = MODELS.build(cfg.val_cfg.model) if 'model' in cfg.val_cfg else model
    assert stride(evaluated) == PRESETS[evaluated.propagator.protocol.name].stride
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is not None:
            check_arguments(DATASETS, loader.dataset)
            for transform in loader.dataset.get('pipeline', []):
                TRANSFORMS.build(transform)
    images = cfg.get('train_cfg', {}).get('image_dataloader')
    if images is not None:
        check_arguments(DATASETS, images.dataset)
        for transform in images.dataset.pipeline:
            TRANSFORMS.build(transform)
    METRICS.build(cfg.val_evaluator)
    for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
        HOOKS.build(hook)


@pytest.mark.parametrize('name', ABLATIONS)
def test_an_ablation_changes_what_it_says(name):
    declared = {
        key
        for line in (ROOT / name).read_text().splitlines()
        if line.startswith('# changed keys:')
        for key in line.split()[3:]
    }
    keys = changed(name)
    if declared:
        assert all(any(key == one or key.startswith(f'{one}.') for one in declared) for key in keys), keys
        assert all(any(key == one or key.startswith(f'{one}.') for key in keys) for one in declared), keys
    elif name != 'ablations/table1_selection_r18.py':
        switched_off = {key.rsplit('.', 1)[0] for key in keys}
        heads = ('model.local_head', 'model.global_head', 'model.backbone.init_cfg')
        one_head = any(all(key.startswith(head) for key in keys) for head in heads)
        one_block = name == 'ablations/table1_reconstruction_r18.py' and switched_off == {'model.reconstruction_head'}
        assert len(keys) == 1 or one_head or one_block, keys
    assert (ROOT / name).read_text().startswith('# ')


@pytest.mark.parametrize(
    ('name', 'key', 'value'),
    [
        ('ablations/recon_l1_r18.py', 'model.reconstruction_head.loss.penalty', 'l1'),
        ('ablations/select_per_image_r18.py', 'model.local_head.selection', 'per_image'),
        ('ablations/keep_30_r18.py', 'model.local_head.keep_ratio', 0.3),
    ],
)
def test_one_line_differs_in_exactly_that_key(name, key, value):
    assert changed(name) == {key}
    assert flatten(Config.fromfile(ROOT / name).to_dict())[key] == value


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{ROOT / 'stt_r18_ytv.py'}'\ntrain_dataloade = dict(batch_size=1)\n")
    with pytest.raises(ValueError, match=r"'train_dataloade' \(did you mean 'train_dataloader'"):
        load_config(path)


@pytest.mark.parametrize(
    'wrong',
    [
        dict(model=dict(local_head=dict(keep_ration=0.5))),
        dict(model=dict(backbone=dict(stride=8))),
        dict(model=dict(propagator=dict(top_k=5))),
        dict(model=dict(local_heads=None)),
    ],
)
def test_a_misspelt_argument_is_refused_by_the_constructor(wrong):
    cfg = Config.fromfile(ROOT / 'stt_r18_ytv.py')
    without_checkpoints(cfg.model)
    cfg.merge_from_dict(wrong)
    with pytest.raises(ValueError, match='has no argument'):
        MODELS.build(cfg.model)


def test_every_registered_name_stands_in_a_config():
    import stt_mm.datasets
    import stt_mm.engine
    import stt_mm.evaluation.metrics
    import stt_mm.models  # noqa: F401

    texts = '\n'.join(path.read_text() for path in ROOT.rglob('*.py'))
    from stt_mm import registry

    names = {
        name
        for kind in vars(registry).values()
        if isinstance(kind, registry.Registry)
        for name, target in kind.module_dict.items()
        if target.__module__.startswith('stt_mm.')
    }
    assert len(names) > 15
    # One is chosen by a command line flag, the other is what runs every config; neither is named by one.
    unnamed = {'AutocastOptimWrapper', 'Runner'}
    assert names - unnamed - {name for name in names if f"'{name}'" in texts} == set()


def test_learning_rate_follows_the_released_schedule():
    """4 processes x 16 clips, 800 epochs of 3,471 videos, a warm-up of 20."""
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = Config.fromfile(ROOT / 'ablations' / 'as_released_r18.py')
    processes = cfg.auto_scale_lr.base_batch_size // cfg.train_dataloader.batch_size
    # The videos are shared out, 868 for each process, and cut into batches.
    epoch = math.ceil(math.ceil(3471 / processes) / cfg.train_dataloader.batch_size)
    assert (processes, epoch) == (4, 55)
    assert cfg.train_cfg.max_iters == 800 * epoch
    warmup, cosine = cfg.param_scheduler
    assert (warmup.end, cosine.T_max) == (20 * epoch, 800 * epoch)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(item, default_args=dict(optimizer=OptimWrapper(optimizer)))
        for item in cfg.param_scheduler
    ]
    rates = []
    for _ in range(cfg.train_cfg.max_iters):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[1100] == pytest.approx(0.99846, abs=1e-5)
    assert optimizer.param_groups[0]['lr'] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize('name', [name for name in CONFIGS if not name.startswith('eval/') and name not in PRETRAIN])
def test_every_training_config_learns_from_a_clip(name, tmp_path):
    cfg = load_config(ROOT / name)
    without_checkpoints(cfg.model)
    model = MODELS.build(cfg.model)
    fill_penalty(model, tmp_path)
    data = dict(inputs=torch.randint(0, 256, (2, 2, 3, 64, 64), dtype=torch.uint8))
    if isinstance(model, Joint):
        views = [torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8) for _ in range(2)]
        data = dict(video=data, image=dict(inputs=views, data_samples=[None] * 2))
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()
    assert total > 0
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f'{parameter_name} has no gradient'
            assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow) if 'r50' in name else name for name in PRETRAIN]
)
def test_every_stage_1_config_learns_from_images(name, tmp_path):
    """Through the config's own views and normalisation; the watched backbone is the trained one in another geometry."""
    cfg = load_config(ROOT / name)
    for number in range(2):
        write_image(tmp_path / f'{number}.jpg', texture((240, 320), number))
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(tmp_path)))
    batch = default_collate([dataset[index, index, 0] for index in range(2)])
    without_checkpoints(cfg.model)
    model = MODELS.build(cfg.model)
    fill_penalty(model, tmp_path)
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()
    assert total.isfinite()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f'{parameter_name} has no gradient'
            assert parameter.grad.isfinite().all(), parameter_name
    assert model.backbone.conv1.weight.grad.abs().sum() > 0
    watched = MODELS.build(cfg.val_cfg.model)
    shapes = {key: value.shape for key, value in model.backbone.state_dict().items()}
    assert {key: value.shape for key, value in watched.backbone.state_dict().items()}.items() <= shapes.items()
    assert watched.propagator.protocol.color == 'rgb'


@pytest.mark.parametrize('name', [name for name in PRETRAIN if not name.endswith('_demo.py')])
def test_stage_1_is_watched_as_a_finished_file_is_scored(name):
    """Colours, geometry and protocol of validation are those of the config behind the tables."""
    kind = ('r50' if 'r50' in name else 'r18') + ('_s4' if name.endswith('_s4.py') else '')
    scored = load_config(ROOT / 'eval' / f'davis_spatial_{kind}_rgb.py')
    watched = load_config(ROOT / name)
    assert watched.val_cfg.model == scored.model
    assert watched.val_dataloader == scored.test_dataloader
    assert watched.val_evaluator == scored.test_evaluator
    assert scored.model.backbone.geometry.endswith('_maxpool')


@pytest.mark.parametrize('net', ['r18', 'r50'])
@pytest.mark.parametrize('stride', ['', '_s4'])
def test_the_second_half_starts_from_the_last_file_of_the_first(net, stride, monkeypatch):
    for variable in ('TEMPORAL', 'FISHER_TEMPORAL'):
        monkeypatch.delenv(f'STT_{variable}_{net}{stride}'.upper(), raising=False)
    first, second, ewc = (load_config(f'temporal_then_spatial_{net}{kind}{stride}') for kind in ('_first', '', '_ewc'))
    assert second.model.backbone.init_cfg.checkpoint == (
        f'work_dirs/temporal_then_spatial_{net}_first{stride}/iter_{first.train_cfg.max_iters}.pth'
    )
    # Elastic weight consolidation is one more loss, and its file is not that of the other stride.
    assert ewc.model.pop('penalty').checkpoint == f'pretrained/fisher_temporal_{net}{stride}.pth'
    assert ewc.model.pop('type') == 'PenalisedMoCo'
    assert second.model.pop('type') == 'mmpretrain.MoCo'
    assert ewc.to_dict() == second.to_dict()
