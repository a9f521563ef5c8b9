"""The published protocols, by name. ``docs/protocols.md`` says where each number is from."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from stt_mm.errors import InputError
from stt_mm.protocols.protocol import Protocol
from stt_mm.protocols.variations import variations

_STT_S8 = Protocol(
    name='stt_davis_s8',
    version=1,
    source='STT, released test configs res18_d8 and res50_d8',
    short_side=480,
    size=None,
    multiple=1,
    color='lab',
    stride=8,
    normalize=True,
    num_context=20,
    first_frame='repeated',
    first_window=True,
    window='square',
    radius=12,
    strict=False,
    topk=10,
    temperature=0.07,
    ties='cut',
    first_label='nearest',
    output='original',
    min_max=True,
    first_output='given',
    points=None,
)
_STT_S4 = replace(
    _STT_S8, name='stt_davis_s4', source='STT, released test configs res18_d4 and res50_d4', stride=4, radius=35
)
_VIP = dict(short_side=None, size=(560, 560), first_label='nearest_twice', first_output='resized')
_JHMDB = dict(short_side=None, size=(320, 320), points='image', first_output='resized')
_POINTS = dict(
    short_side=None, points='input', source="none published: STT's JHMDB protocol, points drawn around pixel centres"
)
_TAPVID_S8 = replace(_STT_S8, name='stt_tapvid_s8', radius=5, occlusion=16.0, **_POINTS)
_TAPVID_S4 = replace(_STT_S4, name='stt_tapvid_s4', radius=12, occlusion=8.0, **_POINTS)
_BADJA_S8 = replace(_TAPVID_S8, name='stt_badja_s8', size=(320, 512), occlusion=None)
_BADJA_S4 = replace(_TAPVID_S4, name='stt_badja_s4', size=(320, 512), occlusion=None)
# Maps one cell wide tell by their mean where between cells a point is, and the frames say the rest.
_FINE = dict(source='none published: the same without fine, points found again in the frames themselves', refine=8)
_FINE_S8, _FINE_S4 = dict(_FINE, point_sigma=8.0, point_topk=100), dict(_FINE, point_sigma=4.0, point_topk=25)
_OURS = "none published: STT's DAVIS protocol, objects that appear later get a memory of their own"
_VFS = replace(
    _STT_S8, name='vfs_davis_r18', source='VFS, released test config of R18', color='rgb', window='circle', strict=True
)
_CRW = replace(
    _VFS,
    name='crw_davis',
    source='CRW, README and test.py',
    short_side=None,
    first_frame='padded',
    first_window=False,
    temperature=0.05,
    first_label='bilinear',
    min_max=False,
)
_DINO = replace(
    _STT_S8,
    name='dino_davis_p16',
    source='DINO, eval_video_segmentation.py',
    multiple=64,
    color='rgb_dino',
    stride=16,
    num_context=7,
    first_frame='once',
    topk=5,
    temperature=0.1,
    ties='kept',
    output='input',
)
_MAST = replace(
    _STT_S4,
    name='mast_davis',
    source='MAST, released test code',
    short_side=None,
    normalize=False,
    num_context=5,
    first_frame='once',
    radius=12,
    temperature=1.0,
    first_label='corner',
    min_max=False,
    fixed=(0, 5),
    lags=(1, 3, 5),
    border='zero',
    long_search=12,
    long_labels='last',
    vote='softmax',
    feedback='hard',
)
_LIIR = replace(
    _MAST,
    name='liir_davis',
    source='LIIR, paper, Sections 3 and 4; what it leaves open is read as docs/faithful_to_paper.md says',
    temperature=16.0,
    border='excluded',
    long_search=None,
    long_labels='own',
    vote='compact',
)
_LIIR_OURS = 'none published: the DAVIS protocol of LIIR on the input of STT'

PRESETS = {
    preset.name: preset
    for preset in (
        _STT_S8,
        _STT_S4,
        replace(_STT_S8, name='stt_vip_s8', radius=16, **_VIP),
        replace(_STT_S4, name='stt_vip_s4', radius=35, **_VIP),
        replace(_STT_S8, name='stt_jhmdb_s8', radius=5, **_JHMDB),
        replace(_STT_S4, name='stt_jhmdb_s4', radius=12, **_JHMDB),
        _TAPVID_S8,
        _TAPVID_S4,
        _BADJA_S8,
        _BADJA_S4,
        # Version 2: what looks like a point counts as the point, whether or not the way back agrees.
        replace(_TAPVID_S8, name='stt_tapvid_fine_s8', version=2, **_FINE_S8),
        replace(_TAPVID_S4, name='stt_tapvid_fine_s4', version=2, **_FINE_S4),
        replace(_BADJA_S8, name='stt_badja_fine_s8', **_FINE_S8),
        replace(_BADJA_S4, name='stt_badja_fine_s4', **_FINE_S4),
        replace(_STT_S8, name='stt_ytv_s8', source=_OURS),
        replace(_STT_S4, name='stt_ytv_s4', source=_OURS),
        _VFS,
        replace(_VFS, name='vfs_davis_r50', source='VFS, released test config of R50', radius=18),
        _CRW,
        replace(_CRW, name='crw_vip', source='CRW, command of its author for VIP', size=(560, 560), num_context=4),
        replace(
            _CRW,
            name='crw_jhmdb',
            source='CRW, command of its author for JHMDB',
            size=(320, 320),
            num_context=7,
            points='grid',
            first_output='resized',
        ),
        _DINO,
        replace(_DINO, name='dino_davis_p8', stride=8),
        replace(_CRW, name='sfc_davis', source='SFC, README, fine-grained correspondence alone'),
        replace(_CRW, name='sfc_fusion_davis', source='SFC, README, fused', radius=15, topk=15, temperature=0.1),
        _MAST,
        _LIIR,
        replace(_LIIR, name='liir_ytv', source=_LIIR_OURS, short_side=480),
        replace(_LIIR, name='liir_vip', source=_LIIR_OURS, size=(560, 560), first_output='resized'),
        replace(_LIIR, name='liir_jhmdb', source=_LIIR_OURS, **_JHMDB),
        replace(
            _MAST,
            name='liir_unofficial_davis',
            source='public unofficial code of LIIR, setting with all its parts',
            radius=14,
            long_search=None,
            long_labels='own',
            vote='compact',
            mass='peak',
            threshold=0.1,
            pad=4,
            gain=1.05,
        ),
        *variations(_VFS, _CRW, _DINO),
    )
}


def get_protocol(settings: Mapping[str, Any] | str) -> Protocol:
    """The preset of a name, with changes.

    Args:
        settings: the name, or a mapping with ``name`` and any fields to change.

    Raises:
        ValueError: no such preset or field.
    """
    if not isinstance(settings, str | Mapping):
        raise InputError(f'A protocol is a name or a dict of a name and fields, got {settings!r}.')
    changes = {} if isinstance(settings, str) else dict(settings)
    name = settings if isinstance(settings, str) else changes.pop('name', None)
    if name not in list(PRESETS):
        close = get_close_matches(str(name), PRESETS, n=1)
        hint = f' Did you mean {close[0]!r}?' if close else ''
        raise InputError(
            f'No protocol is called {name!r}.{hint} There are: {", ".join(PRESETS)}. To vary one, name it '
            "and change fields: protocol=dict(name='stt_davis_s8', topk=5)."
        )
    return PRESETS[name].change(changes)
