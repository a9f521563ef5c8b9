"""Everything that a config's ``model`` can name; each part is imported when it is asked for."""

from stt_mm.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        'backbones': (
            'ColorPatches',
            'CorrespondenceResNet',
            'MMPretrainBackbone',
            'TimmBackbone',
            'TorchHubBackbone',
        ),
        'correspondence': (
            'STT',
            'ContrastiveRandomWalk',
            'Correspondence',
            'Joint',
            'LateFusion',
            'PairReconstruction',
            'load_for_evaluation',
        ),
        'data_preprocessor': ('ClipDataPreprocessor',),
        'frozen_teacher': ('FrozenTeacher',),
        'heads': ('CompactnessHead', 'GlobalCorrelationHead', 'LocalCorrelationHead', 'ReconstructionHead'),
        'losses': ('AffinityLoss', 'ColorClassLoss', 'ReconstructionLoss'),
        'penalties': ('EWCPenalty', 'LwFPenalty'),
        'position': ('PositionMap',),
        'pretrain': ('DetCo', 'DetCoNeck', 'PenalisedMoCo'),
        'propagator': ('LabelPropagator',),
        'tracker': ('FrameLabels', 'Tracker'),
        'video_negatives': ('VideoNegatives',),
    },
)
