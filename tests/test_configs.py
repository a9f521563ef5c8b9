"""Every shipped config loads, builds, survives a round trip, and says what it changes."""

import csv
import inspect
import json
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from config_pages import pages, parsed, variants
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from tiny_data import texture, write_image

from stt_mm.engine import load_config
from stt_mm.engine.config import KNOWN_KEYS
from stt_mm.models import EWCPenalty, Joint
from stt_mm.registry import DATASETS, MODELS, TRANSFORMS

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


# Slips of keys that are read, and variables that configs of OpenMMLab have at the top.
SLIPS = dict(
    train_dataloade='train_dataloader',
    train_dataloder='train_dataloader',
    modle='model',
    param_schedulers='param_scheduler',
    val_evaluaters='val_evaluator',
    optimizer_wrapper='optim_wrapper',
    work_dirs='work_dir',
    sync_nb='sync_bn',
)
VARIABLES = """
data_root dataset_type train_pipeline val_pipeline test_pipeline tta_pipeline tta_model max_iters max_epochs
batch_size num_workers img_norm_cfg norm_cfg crop_size file_client_args backend_args optimizer base_lr num_classes
clip_len ann_file_train data_root_val vis_backends train_dataset val_dataset test_dataset view_pipeline dist_params"""


@cache
def table(kind):
    """Rows by the name of their config."""
    path = Path(__file__).parent / 'data' / f'{kind}_configs.csv'
    with open(path, newline='', encoding='utf-8') as file:
        return {row.pop('config'): row for row in csv.DictReader(file)}


def stride(model):
    """Pixels per cell of the features that a model compares."""
    side = 64 if model.propagator.protocol.stride % 7 else 56  # patches of 14
    frame = torch.zeros(1, 3 * len(getattr(model, 'backbones', [0])), side, side)
    with torch.no_grad():
        return side / model.eval().extract_feat(frame)[model.feature_stage].shape[-1]


def shallow(cfg):
    """The config with two blocks for each transformer of timm: those of the large ones take seconds to be drawn."""
    backbone = cfg.model.get('backbone') or {}
    if str(backbone.get('model_name')).startswith('vit_'):
        backbone.options = dict(depth=2)


def numbers(cfg):
    """Every number and switch of a config's model, data and loops, by its dotted key."""
    parts = ('model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'val_cfg')
    leaves = flatten({part: cfg.to_dict().get(part) for part in parts})
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in leaves.items()
        if isinstance(value, (bool, int, float, list, tuple)) and 'init_cfg' not in key or key.endswith('.geometry')
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
def test_config_builds_with_plain_mmengine_and_round_trips(name, tmp_path, monkeypatch):
    """What the tools load adds checks to the file, and nothing else: MMEngine's runner takes it as it stands.

    With the numbers of the table: each stands in two places, so that none is changed by a slip of the keyboard.
    """
    # The layout of the dumped text takes longer than everything else together.
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **options: (text, True))
    cfg = load_config(ROOT / name)
    kind, row = ('evaluation', evaluation_row) if name.startswith('eval/') else ('training', training_row)
    assert name not in table(kind) or row(cfg) == table(kind)[name]
    assert name not in config_numbers() or json.loads(json.dumps(numbers(cfg))) == config_numbers()[name]
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()

    plain = Config.fromfile(ROOT / name)
    assert plain.pop('work_dir') == 'work_dirs'
    assert plain.to_dict() == cfg.to_dict()
    without_checkpoints(plain.model)
    shallow(plain)
    plain.merge_from_dict(dict(work_dir=str(tmp_path), experiment_name=name, visualizer=dict(vis_backends=None)))
    runner = Runner.from_cfg(plain)
    assert type(runner) is Runner
    # Stage 1 is watched by a model of its own.
    evaluated = MODELS.build(plain.val_cfg.model) if 'model' in plain.val_cfg else runner.model
    assert stride(evaluated) == evaluated.propagator.protocol.stride
    loaders = [plain.get(f'{split}_dataloader') for split in ('train', 'val', 'test')]
    for loader in [*loaders, (plain.get('train_cfg') or {}).get('image_dataloader')]:
        if loader is not None:
            check_arguments(DATASETS, loader.dataset)
            for transform in loader.dataset.get('pipeline', []):
                TRANSFORMS.build(transform)
    for evaluator in (plain.get('val_evaluator'), plain.get('test_evaluator')):
        if evaluator is not None:
            runner.build_evaluator(evaluator)


def test_no_two_configs_are_the_same():
    """Neither as they are written nor in what they build: merged, without the parts that the model does not keep."""
    same = {}
    for name in CONFIGS:
        cfg = Config.fromfile(ROOT / name)
        if cfg.model.get('global_head', 'other method') is None:
            cfg.model.pop('teacher', None)
        content = {key: value for key, value in flatten(cfg.to_dict()).items() if value is not None}
        content = {key: value for key, value in content.items() if key.partition('.')[0] in KNOWN_KEYS}
        same.setdefault(repr(sorted(content.items())), []).append(name)
    assert [names for names in same.values() if len(names) > 1] == []
    assert len({Path(name).stem for name in CONFIGS}) == len(CONFIGS), 'a config is found by its name alone'


def test_table_1_is_built_forwards():
    """Each row is the one before and one more part; the last is the full method without res5 and what hangs on it."""
    rows = [f'ablations/table1_{name}_r18.py' for name in ('reconstruction', 'pyramid', 'local')]
    rows.append('stt/stt_r18_ytv_temporal.py')
    parts = [{key.split('.')[1] for key in changed(name)} for name in rows[1:]]
    assert parts == [{'reconstruction_head'}, {'local_head'}, {'local_head'}]
    temporal, full = (Config.fromfile(ROOT / name).to_dict() for name in (rows[-1], 'stt_r18_ytv.py'))
    for key in ('global_head', 'teacher'):
        del full['model'][key]
    full['model']['backbone'].pop('init_cfg')
    full['model']['backbone']['out_indices'] = (1, 2)
    assert temporal == full


def test_every_config_is_named_by_the_page_of_its_folder():
    named = {
        str((folder / name.removeprefix('configs/')).resolve().relative_to(ROOT))
        for kind, page in pages().items()
        for name in re.findall(r'`(configs/[\w/]+\.py|\w+\.py)`', page)
        for folder in [ROOT if name.startswith('configs/') else ROOT / kind]
    }
    assert named == set(CONFIGS)
    assert set(pages()) == {name.split('/')[0] for name in CONFIGS if '/' in name}


@pytest.mark.parametrize(('name', 'options'), variants())
def test_a_variant_is_one_option_away(name, options):
    """It builds, differs from its config, and has the stride that its protocol is for."""
    overrides = parsed(options)
    before, cfg = load_config(ROOT / name), load_config(ROOT / name, overrides)
    assert all(flatten(cfg.to_dict()).get(key) != flatten(before.to_dict()).get(key, 'absent') for key in overrides)
    without_checkpoints(cfg)
    shallow(cfg)
    model = MODELS.build(cfg.model)
    watched = MODELS.build(cfg.val_cfg.model) if 'model' in cfg.val_cfg else model
    assert stride(watched) == watched.propagator.protocol.stride
    if 'stride4' in options:
        assert stride(watched) == 4
    if cfg.model.type == 'STT':  # A window of 48 pixels to each side, whatever the grid.
        features = model.extract_feat(torch.zeros(1, 3, 64, 64))
        assert {radius * 64 / features[stage].shape[-1] for stage, radius in cfg.model.radii.items()} == {48}


@pytest.mark.parametrize('name', [name for name in ABLATIONS if 'table1_reconstruction' not in name])
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
    else:
        assert len(keys) == 1 or all(key.startswith('model.local_head') for key in keys), keys
    assert (ROOT / name).read_text().startswith('# ')


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    path = tmp_path / 'mine.py'
    base = f"_base_ = '{ROOT / 'stt_r18_ytv.py'}'\n"
    for slip, meant in SLIPS.items():
        path.write_text(f'{base}{slip} = dict(batch_size=1)\n')
        with pytest.raises(ValueError, match=rf"'{slip}' \(did you mean '{meant}'"):
            load_config(path)
    path.write_text(f"{base}fallback_scope = 'mmpretrain'\n")
    with pytest.raises(ValueError, match=r"fallback_scope, which is no longer read\. .*type='mmpretrain\.MoCo'"):
        load_config(path)


def test_variables_at_the_top_are_as_usual(tmp_path):
    """Those of OpenMMLab's configs; on the command line they come too late to change anything, and are refused."""
    path = tmp_path / 'mine.py'
    lines = [f'{name} = 3' for name in VARIABLES.split()]
    path.write_text(
        f"_base_ = '{ROOT / 'stt_r18_ytv.py'}'\n" + '\n'.join(lines) + '\ntrain_cfg = dict(max_iters=max_iters)\n'
    )
    assert load_config(path).train_cfg.max_iters == 3
    with pytest.raises(ValueError, match="nothing reads 'max_iters'"):
        load_config(path, {'max_iters': 5})
    with pytest.raises(ValueError, match=r"nothing reads 'train_dataloder' \(did you mean 'train_dataloader'"):
        load_config(path, {'train_dataloder.batch_size': 5})


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
    # Chosen by a command line flag; what runs every config; for a folder of code that is not here.
    unnamed = {'AutocastOptimWrapper', 'Runner', 'TorchHubBackbone'}
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
    samples = [BaseDataElement(metainfo=dict(sample_idx=index)) for index in range(2)]
    data = dict(inputs=torch.randint(0, 256, (2, 2, 3, 64, 64), dtype=torch.uint8), data_samples=samples)
    if isinstance(model, Joint):
        # DetCo has a mosaic beside each view.
        sides = (64, 64, 96, 96) if cfg.model.image_branch.type == 'DetCo' else (64, 64)
        views = [torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8) for side in sides]
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
    scored = load_config(f'eval/davis_spatial_{"r50" if "r50" in name else "r18"}_rgb')
    watched = load_config(ROOT / name)
    assert watched.val_cfg.model == scored.model
    assert watched.val_dataloader == scored.test_dataloader
    assert watched.val_evaluator == scored.test_evaluator
    assert scored.model.backbone.geometry == 'stride8_maxpool'


@pytest.mark.parametrize('net', ['r18', 'r50', 'r50_detco'])
def test_the_second_half_starts_from_the_last_file_of_the_first(net, monkeypatch):
    depth = net[:3]
    for variable in ('TEMPORAL', 'FISHER_TEMPORAL'):
        monkeypatch.delenv(f'STT_{variable}_{depth}'.upper(), raising=False)
    names = (f'{depth}_first', net, f'{net}_ewc')
    first, second, ewc = (load_config(f'temporal_then_spatial_{name}') for name in names)
    assert second.model.backbone.init_cfg.checkpoint == (
        f'work_dirs/temporal_then_spatial_{depth}_first/iter_{first.train_cfg.max_iters}.pth'
    )
    # Elastic weight consolidation is one more loss.
    assert ewc.model.pop('penalty').checkpoint == f'pretrained/fisher_temporal_{depth}.pth'
    kinds = (ewc.model.pop('type'), second.model.pop('type'))
    assert kinds == (('DetCo', 'DetCo') if 'detco' in net else ('PenalisedMoCo', 'mmpretrain.MoCo'))
    assert ewc.to_dict() == second.to_dict()
