"""What the parts of a model are without an argument, and what they refuse."""

import inspect

import pytest
from mmengine.registry import init_default_scope

from stt_mm import models, ops
from stt_mm.evaluation.functional import boundary_measure, match_instances
from stt_mm.evaluation.metrics import VIPInstanceMetric
from stt_mm.models.heads.reconstruction import CHANNELS
from stt_mm.models.memory_bank import MemoryBank
from stt_mm.ops import split_mosaic

init_default_scope('stt_mm')
PARTS = {
    'AffinityLoss': {},
    'ReconstructionLoss': {},
    'ClipDataPreprocessor': {},
    'ColorPatches': {},
    'ReconstructionHead': dict(loss=dict(type='ReconstructionLoss')),
    'LocalCorrelationHead': dict(loss=dict(type='AffinityLoss')),
    'GlobalCorrelationHead': dict(loss=dict(type='AffinityLoss')),
    'EWCPenalty': dict(checkpoint='fisher.pth'),
    'CorrespondenceResNet': dict(depth=18),
    'PositionMap': {},
    'CompactnessHead': dict(loss=dict(type='ReconstructionLoss')),
    'VideoNegatives': {},
}
# The numbers of the released code, or what the documentation of the part gives.
USUAL = {
    'AffinityLoss': dict(reduction='element'),
    'ReconstructionLoss': dict(scale=20.0),
    'ClipDataPreprocessor': dict(
        student_color='lab',
        teacher_color='rgb',
        dropout='one',
        drop_prob=0.5,
        drop_per='call',
        rescale=True,
        rank_shared=False,
    ),
    'ColorPatches': dict(size=3, stride=8),
    'ReconstructionHead': dict(
        stages=('res3', 'res4'),
        weights=(1.0, 1.0),
        target='dropped',
        resolution='full',
        upsample='half_pixel',
        centres=None,
    ),
    'LocalCorrelationHead': dict(
        weight=1000.0,
        fine='res3',
        coarse='res4',
        pooling='avg',
        detach=True,
        selection='released',
        measure='neg_log_sum',
        source='window',
        keep_ratio=0.7,
    ),
    'GlobalCorrelationHead': dict(weight=50.0, stage='res5', teacher_temperature=0.07),
    'EWCPenalty': dict(weight=1000.0),
    'CorrespondenceResNet': dict(
        pool='none',
        strides=(1, 2, 2, 4),
        out_indices=(1, 2, 3),
        padding_mode='zeros',
        frozen_stages=-1,
        norm_eval=False,
        with_cp=False,
        projection=None,
        position=None,
    ),
    'PositionMap': dict(channels=64, size=(128, 128), kind='abs1d', combine='concat'),
    'CompactnessHead': dict(stages=('res5',), weight=1.0, components=2, sigma=None, normalised=True, threshold=0.0),
    'VideoNegatives': dict(stage='res5', points=4, momentum=0.001, modulation='shifting'),
}
# The same of what is costly to build, and of functions.
USUAL_ARGUMENTS = {
    models.PairReconstruction: dict(
        border='excluded', encoding='joint', temperature=None, normalize=False, feature_stage='res4'
    ),
    models.STT: dict(
        temperature=None, normalize=False, feature_stage='res4', border='excluded', encoding='joint', negatives=None
    ),
    models.VideoNegatives: dict(channels=256, frames=1440, stored=16),
    models.ReconstructionHead: dict(classes=16),
    models.Joint: dict(
        gamma=1.0, image_stages=('res5',), dual_bn=False, temperature=None, normalize=False, feature_stage='res4'
    ),
    models.ContrastiveRandomWalk: dict(
        in_channels=512,
        channels=128,
        grid=7,
        crop_area=(0.7, 0.9),
        temperature=0.05,
        edge_dropout=0.1,
        one_step=False,
        feature_stage='res4',
    ),
    models.LateFusion: dict(weights=(1.75, 1.0), colors=None, feature_stages=None),
    models.LwFPenalty: dict(
        weight=1.0,
        temperature=2.0,
        logit_temperature=0.2,
        distance='distribution',
        stage='res5',
        neck_prefix='neck.',
        queue_name='queue',
    ),
    models.DetCo: dict(queue_len=65536, momentum=0.001, stage_weights=(0.1, 0.4, 0.7, 1.0), normalize=False),
    models.DetCoNeck: dict(hid_channels=None, out_channels=128, grid=3),
    models.PenalisedMoCo: dict(queue_len=65536, feat_dim=128, momentum=0.001),
    MemoryBank: dict(size=65536, dim=128, points=None, normalize=True),
    split_mosaic: dict(grid=3),
    models.TimmBackbone: dict(stages=(-1,), pretrained=False, norm=True, position_embedding='timm'),
    models.LabelPropagator: dict(protocol='stt_davis_s8', max_memory=None),
    models.load_for_evaluation: dict(trust=False, allow_partial=False, allow_other_geometry=False),
    VIPInstanceMetric: dict(resume=False, drop_incomplete=True),
    match_instances: dict(drop_incomplete=True),
    boundary_measure: dict(tolerance=0.008),
    ops.Window: dict(shape='square', radius=12, strict=False),
    ops.propagate: dict(copies=None, global_copies=None, border='excluded', tile=8, together=1),
    ops.Vote: dict(
        kind='topk', temperature=0.07, topk=10, ties='cut', components=2, sigma=None, mass='share', threshold=0.0
    ),
    ops.LongSearch: dict(labels='own'),
    ops.gathered: dict(rows=None, columns=None, components=2, sigma=None, normalised=True),
    ops.transitions: dict(edge_dropout=0.0),
    ops.round_trips: dict(edge_dropout=0.0, one_step=False),
    ops.drop_channels: dict(rescale=True),
    ops.local_affinity: dict(border='excluded', with_lse=False),
    ops.reconstruct: dict(whole_frame=False),
    ops.pool_local_affinity: dict(keep_mass=False),
    ops.label_to_mask: dict(min_max=True),
}
CHOICES = [
    ('AffinityLoss', 'reduction'),
    ('ReconstructionLoss', 'distance'),
    *(('ClipDataPreprocessor', name) for name in ('student_color', 'teacher_color', 'dropout', 'drop_per')),
    *(('ReconstructionHead', name) for name in ('target', 'resolution', 'upsample')),
    *(('LocalCorrelationHead', name) for name in ('pooling', 'selection', 'measure', 'source')),
    ('CorrespondenceResNet', 'geometry'),
    ('CorrespondenceResNet', 'padding_mode'),
    ('PositionMap', 'kind'),
    ('PositionMap', 'combine'),
    ('VideoNegatives', 'modulation'),
]
NUMBERS = [
    ('ReconstructionLoss', 'scale', [0, -1]),
    ('EWCPenalty', 'weight', [-1]),
    ('LocalCorrelationHead', 'keep_ratio', [0, 1.1]),
    ('LocalCorrelationHead', 'weight', [-1]),
    ('GlobalCorrelationHead', 'weight', [-1]),
    ('GlobalCorrelationHead', 'teacher_temperature', [0, -1]),
    ('ClipDataPreprocessor', 'drop_prob', [-1, 2]),
    ('CompactnessHead', 'weight', [-1]),
    ('CompactnessHead', 'sigma', [0, -1]),
    ('CompactnessHead', 'threshold', [-1, 2]),
    ('VideoNegatives', 'momentum', [0, 1]),
]


def build(name, **settings):
    return getattr(models, name)(**PARTS[name] | settings)


@pytest.mark.parametrize('name', USUAL)
def test_the_usual_settings(name):
    part = build(name)
    assert {field: getattr(part, field) for field in USUAL[name]} == USUAL[name]


@pytest.mark.parametrize('part', USUAL_ARGUMENTS, ids=lambda part: part.__name__)
def test_the_usual_arguments(part):
    defaults = {name: argument.default for name, argument in inspect.signature(part).parameters.items()}
    assert {name: defaults[name] for name in USUAL_ARGUMENTS[part]} == USUAL_ARGUMENTS[part]


@pytest.mark.parametrize(('name', 'field'), CHOICES)
def test_another_choice_is_refused_by_name(name, field):
    with pytest.raises(ValueError, match=f"{field} must be one of .* got 'other'"):
        build(name, **{field: 'other'})


@pytest.mark.parametrize(('name', 'field', 'wrong'), NUMBERS)
def test_a_number_out_of_range_is_refused_by_name(name, field, wrong):
    for value in [*wrong, float('nan'), float('inf')]:
        with pytest.raises(ValueError, match=f'{field} must be'):
            build(name, **{field: value})


def test_the_colour_channels_of_lab():
    assert {name: list(range(3))[part] for name, part in CHANNELS.items()} == {'all': [0, 1, 2], 'ab': [1, 2]}


@pytest.mark.parametrize(
    ('name', 'wrong'),
    [
        ('ReconstructionHead', dict(stages=(), weights=())),
        ('ReconstructionHead', dict(weights=(1.0,))),
        ('ReconstructionHead', dict(weights=(1.0, -0.5))),
        ('ColorPatches', dict(size=0)),
        ('ColorPatches', dict(size=-1)),
        ('ColorPatches', dict(size=2)),
        ('ColorPatches', dict(stride=0)),
        ('CorrespondenceResNet', dict(geometry=('max', ()), out_indices=())),
        ('CorrespondenceResNet', dict(geometry=('max', (1, 2, 2, 2, 2)))),
        ('CorrespondenceResNet', dict(geometry=('max', (1, 2, 2)))),
        ('CorrespondenceResNet', dict(out_indices=(-1, 2))),
        ('CorrespondenceResNet', dict(depth=19)),
        ('ClipDataPreprocessor', dict(dropout='bernoulli', drop_per='sample')),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(name, wrong):
    with pytest.raises(ValueError, match='must|Expected|needs|cannot be built'):
        build(name, **wrong)


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('ReconstructionHead', dict(stages=('res3',), weights=(0,))),
        ('ColorPatches', dict(size=1, stride=1)),
        ('CorrespondenceResNet', dict(geometry=('none', (1,)), out_indices=(0,))),
        ('EWCPenalty', dict(weight=0)),
        ('LocalCorrelationHead', dict(keep_ratio=1, weight=0)),
        ('GlobalCorrelationHead', dict(weight=0)),
        ('ClipDataPreprocessor', dict(drop_prob=0)),
        ('ClipDataPreprocessor', dict(drop_prob=1)),
    ],
)
def test_the_bounds_of_settings_are_allowed(name, settings):
    build(name, **settings)


def test_the_initialisation_of_a_whole_model_is_handed_on():
    init_cfg = dict(type='Constant', val=3, layer='Conv2d')
    backbone = dict(type='CorrespondenceResNet', depth=18)
    fusion = models.LateFusion([backbone] * 2, init_cfg=init_cfg)
    for model in (
        models.Correspondence(backbone, init_cfg=init_cfg),
        fusion,
        models.DetCoNeck((3,), init_cfg=init_cfg),
    ):
        assert model.init_cfg == init_cfg
    model = models.Correspondence(backbone)
    assert (model.init_cfg, model.feature_stage) == (None, 'res4')
    assert models.Correspondence(backbone, feature_stage=None).feature_stage == 'res5'


@pytest.mark.parametrize(
    'settings', [dict(weight=0), dict(weight=0.5), dict(temperature=0.5), dict(logit_temperature=0.01)]
)
def test_the_bounds_of_learning_without_forgetting(settings):
    network = dict(type='CorrespondenceResNet', depth=18)
    penalty = models.LwFPenalty('file.pth', network, dict(type='DetCoNeck', in_channels=(3,)), **settings)
    usual = dict(weight=1.0, temperature=2.0, logit_temperature=0.2) | settings
    assert penalty.weight == usual['weight']
    assert penalty.sharpness == pytest.approx(1 / (usual['temperature'] * usual['logit_temperature']))
