"""What the parts of a model are without an argument, and what they refuse."""

import pytest
from mmengine.registry import init_default_scope

from stt_mm import models
from stt_mm.models.heads.reconstruction import CHANNELS

init_default_scope('stt_mm')
PARTS = {
    'AffinityLoss': {}, 'ReconstructionLoss': {}, 'ClipDataPreprocessor': {}, 'ColorPatches': {},
    'ReconstructionHead': dict(loss=dict(type='ReconstructionLoss')),
    'LocalCorrelationHead': dict(loss=dict(type='AffinityLoss')),
    'GlobalCorrelationHead': dict(loss=dict(type='AffinityLoss')),
    'EWCPenalty': dict(checkpoint='fisher.pth'),
    'CorrespondenceResNet': dict(depth=18),
}
# The numbers of the released code, or what the documentation of the part gives.
USUAL = {
    'AffinityLoss': dict(reduction='element'),
    'ReconstructionLoss': dict(scale=20.0),
    'ClipDataPreprocessor': dict(student_color='lab', teacher_color='rgb', dropout='one', drop_prob=0.5,
                                 drop_per='call', rescale=True, rank_shared=False),
    'ColorPatches': dict(size=3, stride=8),
    'ReconstructionHead': dict(stages=('res3', 'res4'), weights=(1.0, 1.0), target='dropped', resolution='full',
                               upsample='half_pixel'),
    'LocalCorrelationHead': dict(weight=1000.0, fine='res3', coarse='res4', pooling='avg', detach=True,
                                 selection='released', measure='neg_log_sum', source='window', keep_ratio=0.7),
    'GlobalCorrelationHead': dict(weight=50.0, stage='res5', student_temperature=None, teacher_temperature=0.07,
                                  normalize=False),
    'EWCPenalty': dict(weight=1000.0),
    'CorrespondenceResNet': dict(strides=(1, 2, 2, 4), out_indices=(1, 2, 3), pool='none', padding_mode='zeros',
                                 frozen_stages=-1, norm_eval=False, with_cp=False),
}
CHOICES = [('AffinityLoss', 'reduction'), ('ReconstructionLoss', 'penalty'),
           *(('ClipDataPreprocessor', name) for name in ('student_color', 'teacher_color', 'dropout', 'drop_per')),
           *(('ReconstructionHead', name) for name in ('target', 'resolution', 'upsample')),
           *(('LocalCorrelationHead', name) for name in ('pooling', 'selection', 'measure', 'source')),
           ('CorrespondenceResNet', 'pool'), ('CorrespondenceResNet', 'padding_mode')]
NUMBERS = [('ReconstructionLoss', 'scale', [0, -1]), ('EWCPenalty', 'weight', [-1]),
           ('LocalCorrelationHead', 'keep_ratio', [0, 1.1]), ('LocalCorrelationHead', 'weight', [-1]),
           ('GlobalCorrelationHead', 'weight', [-1]), ('GlobalCorrelationHead', 'student_temperature', [0, -1]),
           ('GlobalCorrelationHead', 'teacher_temperature', [0, -1]), ('ClipDataPreprocessor', 'drop_prob', [-1, 2])]


def build(name, **settings):
    return getattr(models, name)(**PARTS[name] | settings)


@pytest.mark.parametrize('name', USUAL)
def test_the_usual_settings(name):
    part = build(name)
    assert {field: getattr(part, field) for field in USUAL[name]} == USUAL[name]


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
    assert CHANNELS == {'all': (0, 1, 2), 'ab': (1, 2)}
