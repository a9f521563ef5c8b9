"""Stage 1, where mmpretrain has no class: DetCo, and MoCo with a penalty."""

import warnings

with warnings.catch_warnings():
    # mmcv-lite warns about a compiled operator that nothing here uses.
    warnings.filterwarnings('ignore', message='Fail to import')
    from stt_mm.models.pretrain.detco import DetCo
    from stt_mm.models.pretrain.detco_neck import DetCoNeck
    from stt_mm.models.pretrain.penalised_moco import PenalisedMoCo

__all__ = ['DetCo', 'DetCoNeck', 'PenalisedMoCo']
