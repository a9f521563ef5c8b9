import ast
import json
import math
import re
from dataclasses import FrozenInstanceError, fields
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_mm.models import LabelPropagator
from stt_mm.protocols import PRESETS, Protocol, completed, get_protocol

FIELDS = (
    'short_side',
    'size',
    'multiple',
    'color',
    'stride',
    'normalize',
    'num_context',
    'first_frame',
    'first_window',
    'window',
    'radius',
    'strict',
    'topk',
    'temperature',
    'ties',
    'first_label',
    'output',
    'min_max',
    'first_output',
    'points',
)
NAN, INF = float('nan'), float('inf')
# What only some protocols say, and what all others leave as it is.
SPECIAL = dict(
    fixed=(0,),
    lags=None,
    border='excluded',
    long_search=None,
    long_labels='own',
    vote='topk',
    components=2,
    sigma=None,
    mass='share',
    threshold=0.0,
    feedback='soft',
    pad=1,
    gain=1.0,
    long_side=None,
    rounding='longer',
    resize='bilinear',
    read_out='bilinear',
    least_pixels=1,
    point_sigma=None,
    point_topk=None,
    data_size=None,
    occlusion=None,
    refine=None,
    refine_from='both',
    refine_patch=7,
)
_FINE_S8, _FINE_S4 = (dict(refine=8, point_sigma=sigma, point_topk=topk) for sigma, topk in ((8.0, 100), (4.0, 25)))
_MAST = dict(fixed=(0, 5), lags=(1, 3, 5), border='zero', vote='softmax', feedback='hard')
_LIIR = dict(_MAST, border='excluded', vote='compact')
_DINOV3 = dict(rounding='up', resize='bicubic', read_out='nearest')
_DINOV3_NAMES = [
    f'dinov3_{data}_{size}{patch}' for data in ('davis', 'ytv', 'mose') for patch in ('', '_p14') for size in 'sml'
]
SAID = dict(
    mast_davis=dict(_MAST, long_search=12, long_labels='last'),
    stt_tapvid_s8=dict(occlusion=16.0),
    stt_tapvid_s4=dict(occlusion=8.0),
    stt_tapvid_fine_s8=dict(_FINE_S8, occlusion=16.0),
    stt_tapvid_fine_s4=dict(_FINE_S4, occlusion=8.0),
    stt_badja_fine_s8=_FINE_S8,
    stt_badja_fine_s4=_FINE_S4,
    **{f'liir_{name}': _LIIR for name in ('davis', 'ytv', 'vip', 'jhmdb')},
    liir_unofficial_davis=dict(_MAST, vote='compact', mass='peak', threshold=0.1, pad=4, gain=1.05),
    **dict.fromkeys(_DINOV3_NAMES, _DINOV3),
    vjepa21_davis=_DINOV3,
    cropmae_davis=dict(read_out='opencv', data_size=(480, 880)),
    cropmae_vip=dict(read_out='opencv', long_side=880, rounding='other'),
    cropmae_jhmdb=dict(read_out='opencv', point_sigma=0.5, point_topk=5),
    rsp_davis=dict(rounding='other', data_size=(480, 880)),
    dift_sd_davis=dict(rounding='other'),
    dift_adm_davis=dict(rounding='other'),
    uvc_davis=dict(rounding='other', vote='frame_topk'),
    uvc_vip=dict(vote='frame_topk'),
    uvc_jhmdb=dict(vote='frame_topk', read_out='opencv', feedback='stretched', point_sigma=0.5, point_topk=5),
    timecycle_davis=dict(vote='frame_topk', read_out='opencv', feedback='stretched', least_pixels=12),
    dul_davis=dict(read_out='aligned'),
)
# Every number from the methods' configs, commands and papers, in the order of FIELDS; see docs/protocols.md.
TABLE = """
stt_davis_s8 480 - 1 lab 8 True 20 repeated True square 12 False 10 0.07 cut nearest original True given -
stt_davis_s4 480 - 1 lab 4 True 20 repeated True square 35 False 10 0.07 cut nearest original True given -
stt_vip_s8 - 560x560 1 lab 8 True 20 repeated True square 16 False 10 0.07 cut nearest_twice original True resized -
stt_vip_s4 - 560x560 1 lab 4 True 20 repeated True square 35 False 10 0.07 cut nearest_twice original True resized -
stt_jhmdb_s8 - 320x320 1 lab 8 True 20 repeated True square 5 False 10 0.07 cut nearest original True resized image
stt_jhmdb_s4 - 320x320 1 lab 4 True 20 repeated True square 12 False 10 0.07 cut nearest original True resized image
stt_tapvid_s8 - - 1 lab 8 True 20 repeated True square 5 False 10 0.07 cut nearest original True given input
stt_tapvid_s4 - - 1 lab 4 True 20 repeated True square 12 False 10 0.07 cut nearest original True given input
stt_badja_s8 - 320x512 1 lab 8 True 20 repeated True square 5 False 10 0.07 cut nearest original True given input
stt_badja_s4 - 320x512 1 lab 4 True 20 repeated True square 12 False 10 0.07 cut nearest original True given input
stt_tapvid_fine_s8 - - 1 lab 8 True 20 repeated True square 5 False 10 0.07 cut nearest original True given input
stt_tapvid_fine_s4 - - 1 lab 4 True 20 repeated True square 12 False 10 0.07 cut nearest original True given input
stt_badja_fine_s8 - 320x512 1 lab 8 True 20 repeated True square 5 False 10 0.07 cut nearest original True given input
stt_badja_fine_s4 - 320x512 1 lab 4 True 20 repeated True square 12 False 10 0.07 cut nearest original True given input
stt_ytv_s8 480 - 1 lab 8 True 20 repeated True square 12 False 10 0.07 cut nearest original True given -
stt_ytv_s4 480 - 1 lab 4 True 20 repeated True square 35 False 10 0.07 cut nearest original True given -
vfs_davis_r18 480 - 1 rgb 8 True 20 repeated True circle 12 True 10 0.07 cut nearest original True given -
vfs_davis_r50 480 - 1 rgb 8 True 20 repeated True circle 18 True 10 0.07 cut nearest original True given -
crw_davis - - 1 rgb 8 True 20 padded False circle 12 True 10 0.05 cut bilinear original False given -
crw_vip - 560x560 1 rgb 8 True 4 padded False circle 12 True 10 0.05 cut bilinear original False given -
crw_jhmdb - 320x320 1 rgb 8 True 7 padded False circle 12 True 10 0.05 cut bilinear original False resized grid
dino_davis_p16 480 - 64 rgb_dino 16 True 7 once True square 12 False 5 0.1 kept nearest input True given -
dino_davis_p8 480 - 64 rgb_dino 8 True 7 once True square 12 False 5 0.1 kept nearest input True given -
sfc_davis - - 1 rgb 8 True 20 padded False circle 12 True 10 0.05 cut bilinear original False given -
sfc_fusion_davis - - 1 rgb 8 True 20 padded False circle 15 True 15 0.1 cut bilinear original False given -
mast_davis - - 1 lab 4 False 5 once True square 12 False 10 1.0 cut corner original False given -
liir_davis - - 1 lab 4 False 5 once True square 12 False 10 16.0 cut corner original False given -
liir_ytv 480 - 1 lab 4 False 5 once True square 12 False 10 16.0 cut corner original False given -
liir_vip - 560x560 1 lab 4 False 5 once True square 12 False 10 16.0 cut corner original False resized -
liir_jhmdb - 320x320 1 lab 4 False 5 once True square 12 False 10 16.0 cut corner original False resized image
liir_unofficial_davis - - 1 lab 4 False 5 once True square 14 False 10 1.0 cut corner original False given -
cropmae_davis - - 1 rgb 16 True 20 padded False circle 20 True 7 0.7 cut floor_bilinear input_floor False grid -
cropmae_vip - - 64 rgb 16 True 20 padded False circle 20 True 10 0.7 cut floor_bilinear input False grid -
cropmae_jhmdb - 320x320 1 rgb 16 True 20 padded False circle 20 True 7 0.7 cut floor_bilinear input_floor False grid grid
rsp_davis 480 - 64 rgb_dino 16 True 30 once True square 30 False 7 0.1 kept nearest input True given -
dift_sd_davis 480 - 32 ((.5,.5,.5),(.5,.5,.5)) 8 True 28 once True square 15 False 15 0.2 kept nearest input True given -
dift_adm_davis 480 - 32 ((.5,.5,.5),(.5,.5,.5)) 8 True 28 once True square 15 False 10 0.1 kept nearest input True given -
uvc_davis 480 - 64 lightness 8 False 7 once True - 0 False 5 1.0 kept nearest input True given -
uvc_vip - 560x560 1 lightness 8 False 1 once True - 0 False 5 1.0 kept nearest input True given -
uvc_jhmdb - 320x320 1 lightness 8 False 7 padded True - 0 False 20 1.0 cut nearest_bilinear input False propagated grid
timecycle_davis - 480x480 1 rgb 8 relu 7 padded True - 0 False 20 0.04419417382415922 cut nearest_bilinear input False propagated -
dul_davis - - 1 rgb 8 True 20 padded False circle 12 True 10 0.05 cut aligned original False grid -
vjepa21_davis 480 - 16 rgb 16 True 15 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_davis_s 480 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_davis_m 960 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_davis_l 1440 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_davis_s_p14 420 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_davis_m_p14 840 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_davis_l_p14 1260 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_ytv_s 480 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_ytv_m 960 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_ytv_l 1440 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_ytv_s_p14 420 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_ytv_m_p14 840 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_ytv_l_p14 1260 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_mose_s 480 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_mose_m 960 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_mose_l 1440 - 16 rgb 16 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_mose_s_p14 420 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_mose_m_p14 840 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
dinov3_mose_l_p14 1260 - 14 rgb 14 True 7 once True circle 12 False 5 0.2 kept nearest original True given -
"""  # noqa: E501


def cell(text):
    """``560x560`` is a size, ``-`` is None; what is neither a number nor a truth value is a word."""
    if text == '-':
        return None
    if re.fullmatch(r'\d+x\d+', text):
        return tuple(map(int, text.split('x')))
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


PUBLISHED = {name: tuple(map(cell, cells)) for name, *cells in (line.split() for line in TABLE.strip().splitlines())}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_numbers(name):
    expected = dict(zip(FIELDS, PUBLISHED[name], strict=True), **SPECIAL) | SAID.get(name, {})
    assert {field: getattr(PRESETS[name], field) for field in expected} == expected


def test_the_table_has_every_field_and_preset():
    named = {*FIELDS, *SPECIAL, 'name', 'version', 'source', 'changed'}
    assert named == {field.name for field in fields(Protocol)}
    assert set(PUBLISHED) == set(PRESETS)


# What tells where the numbers of a preset are from.
SOURCES = {
    'stt_davis_s8': ('STT', 'res18_d8'),
    'stt_davis_s4': ('STT', 'res18_d4'),
    'stt_vip_s8': ('STT', 'res18_d8'),
    'stt_vip_s4': ('STT', 'res18_d4'),
    'stt_jhmdb_s8': ('STT', 'res18_d8'),
    'stt_jhmdb_s4': ('STT', 'res18_d4'),
    **{f'stt_{data}_{grid}': ('none published', 'JHMDB') for data in ('tapvid', 'badja') for grid in ('s8', 's4')},
    **{
        f'stt_{data}_fine_{grid}': ('none published', 'frames') for data in ('tapvid', 'badja') for grid in ('s8', 's4')
    },
    'stt_ytv_s8': ('none published', 'later'),
    'stt_ytv_s4': ('none published', 'later'),
    'vfs_davis_r18': ('VFS', 'R18'),
    'vfs_davis_r50': ('VFS', 'R50'),
    'crw_davis': ('CRW', 'test.py'),
    'crw_vip': ('CRW', 'VIP'),
    'crw_jhmdb': ('CRW', 'JHMDB'),
    'dino_davis_p16': ('DINO', 'eval_video'),
    'dino_davis_p8': ('DINO', 'eval_video'),
    'sfc_davis': ('SFC', 'alone'),
    'sfc_fusion_davis': ('SFC', 'fused'),
    'mast_davis': ('MAST', 'test code'),
    'liir_davis': ('LIIR', 'paper'),
    'liir_ytv': ('none published', 'LIIR'),
    'liir_vip': ('none published', 'LIIR'),
    'liir_jhmdb': ('none published', 'LIIR'),
    'liir_unofficial_davis': ('public unofficial', 'LIIR'),
    **dict.fromkeys(_DINOV3_NAMES, ('DINOv3', 'segmentation_tracking')),
    'vjepa21_davis': ('V-JEPA 2.1', 'paper'),
    'cropmae_davis': ('CropMAE', 'propagation'),
    'cropmae_vip': ('CropMAE', 'propagation'),
    'cropmae_jhmdb': ('CropMAE', 'propagation'),
    'rsp_davis': ('RSP', 'eval_video'),
    'dift_sd_davis': ('DIFT', 'Stable Diffusion'),
    'dift_adm_davis': ('DIFT', 'ADM'),
    'uvc_davis': ('UVC', 'test.py'),
    'uvc_vip': ('UVC', 'test_mask_vip.py'),
    'uvc_jhmdb': ('UVC', 'test_jhmdb.py'),
    'timecycle_davis': ('TimeCycle', 'test_davis.py'),
    'dul_davis': ('DUL', 'infer_vos.py'),
}


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_says_where_it_is_from(name):
    first, other = SOURCES[name]
    assert PRESETS[name].source.startswith(first)
    assert other in PRESETS[name].source


# The smallest and the largest value of each number.
RANGES = dict(
    short_side=(8, 16384),
    multiple=(1, 16384),
    stride=(1, 1024),
    num_context=(1, 10**9),
    radius=(0, 10**9),
    topk=(1, 10**9),
    temperature=(1e-6, 10**9),
    components=(1, 10**9),
    sigma=(1e-3, 10**9),
    threshold=(0, 1),
    gain=(1e-6, 10**9),
    least_pixels=(1, 10**9),
    point_sigma=(1e-3, 10**9),
    point_topk=(1, 10**9),
    occlusion=(0, 16384),
    refine=(1, 64),
    refine_patch=(1, 64),
)


@pytest.mark.parametrize('field', RANGES)
def test_numbers_reach_to_their_bounds_and_no_further(field):
    least, most = RANGES[field]
    # A frame has room for a cell of any stride.
    base = dict(name='stt_davis_s8', **(dict(short_side=2048) if field == 'stride' else {}))
    for value in (least, most):
        assert getattr(get_protocol(dict(base, **{field: value})), field) == value
    step = least / 2 if 0 < least < 1 else 1
    for value in (least - step, most + 1):
        with pytest.raises(ValueError, match=rf'^Protocol stt_davis_s8: {field} must be at least'):
            get_protocol(dict(base, **{field: value}))


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        ('mast_davis', dict(fixed=(5,)), 'with 0 among them, got'),
        ('mast_davis', dict(fixed=(0, -1)), 'with 0 among them, got'),
        ('mast_davis', dict(lags=(0, 1)), 'lags must be numbers from 1 to 5'),
        ('mast_davis', dict(lags=(1, 6)), 'lags must be numbers from 1 to 5'),
        ('mast_davis', dict(lags=()), 'lags must be numbers from 1 to 5'),
        ('mast_davis', dict(num_context=3), 'lags must be numbers from 1 to 3'),
        ('mast_davis', dict(long_search=0), 'long_search must be at least 1'),
        ('mast_davis', dict(window='circle'), 'long_search needs a square window'),
        ('mast_davis', dict(border='excluded'), "long_search needs .*'zero'.*border='excluded'"),
        ('mast_davis', dict(vote='topk'), "another vote than 'topk'"),
        ('mast_davis', dict(window=None, long_search=None), "border='zero' needs a window"),
        ('mast_davis', dict(first_window=False, long_search=None), "border='zero' needs a window"),
        ('liir_davis', dict(window='circle'), "vote='compact' needs a square window"),
        ('liir_unofficial_davis', dict(pad=0), 'pad must be at least 1'),
        ('liir_unofficial_davis', dict(short_side=480), 'only frames at their own size are padded'),
        ('liir_vip', dict(pad=4), 'only frames at their own size are padded'),
        ('dino_davis_p8', dict(pad=4), 'only frames at their own size are padded'),
        ('stt_davis_s8', dict(vote='best'), "vote must be one of 'topk', 'softmax'"),
        ('cropmae_vip', dict(short_side=480), 'give short_side or long_side, not both; got 480 and 880'),
        ('cropmae_vip', dict(size=(480, 480)), 'give long_side or size, not both'),
        ('cropmae_vip', dict(long_side=15), 'long_side must be at least one cell of 16 pixels, got 15'),
        ('cropmae_vip', dict(long_side=16385), 'long_side must be at least 1 and at most 16384'),
        ('cropmae_vip', dict(rounding='longer'), "long_side needs rounding='other' or 'up'"),
        ('rsp_davis', dict(short_side=None), "rounding='other' needs short_side or long_side"),
        ('rsp_davis', dict(data_size=(0, 5)), r'data_size must be \(height, width\) of at most 16384'),
        ('rsp_davis', dict(data_size=(5, 16385)), r'data_size must be \(height, width\) of at most 16384'),
        ('liir_unofficial_davis', dict(long_side=480, rounding='up'), 'only frames at their own size are padded'),
        ('stt_badja_s8', dict(refine=2.5), 'refine must be an integer or None, got 2.5'),
        ('stt_badja_s8', dict(refine=0), 'refine must be at least 1 and at most 64, got 0'),
        ('stt_badja_s8', dict(refine_from='first'), "refine_from must be one of 'given', 'last', 'both', got 'first'"),
        ('stt_badja_s8', dict(refine_patch=None), 'refine_patch must be an integer, got None'),
        ('stt_davis_s8', dict(color=((0, 0, 0), (1, 0, 1))), 'deviations of color must be above 0'),
        ('stt_davis_s8', dict(color=((0, 0, 0),)), 'color must be one of'),
        ('stt_davis_s8', dict(color=((0, 0, 0), (1, 1))), 'color must be one of'),
        ('stt_davis_s8', dict(color=((0, 0, 0), (1, 1, NAN))), 'color must be one of'),
        ('stt_davis_s8', dict(color=((0, 0, 0), (1, 1, True))), 'color must be one of'),
    ],
)
def test_fields_that_do_not_go_together_are_named(name, changes, message):
    with pytest.raises(ValueError, match=f'^Protocol {name}: .*{message}'):
        get_protocol(dict(name=name, **changes))


def test_a_frame_is_padded_to_the_next_multiple():
    protocol = PRESETS['liir_unofficial_davis']
    assert protocol.padded((480, 854)) == (480, 856)
    assert protocol.padded((1, 4)) == (4, 4)
    assert PRESETS['stt_davis_s8'].padded((481, 855)) == (481, 855)


@pytest.mark.parametrize(
    ('size', 'fits'),
    [((8, 8), True), ((7, 8), False), ((8, 7), False), ((16384, 8), True), ((16385, 8), False), ((8, 16385), False)],
)
def test_a_size_holds_one_cell_and_is_no_larger_than_the_largest_side(size, fits):
    settings = dict(name='stt_vip_s8', size=size)
    if fits:
        assert get_protocol(settings).size == size
    else:
        with pytest.raises(ValueError, match='size must be'):
            get_protocol(settings)


@pytest.mark.parametrize(
    ('original', 'expected'),
    [
        ((100, 100), (64, 100)),
        ((64, 50), (64, 50)),
        ((63, 50), (64, 50)),
        ((50, 63), (50, 64)),
        ((128, 191), (128, 128)),
    ],
)
def test_the_longer_side_is_cut_to_a_multiple_and_keeps_one_of_them(original, expected):
    protocol = get_protocol(dict(name='dino_davis_p16', short_side=None))
    assert protocol.input_size(original) == expected


def test_every_preset_is_complete_and_goes_into_a_result_file():
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.version == (2 if name.startswith('stt_tapvid_fine_') else 1)
        assert preset.changed == ()
        record = preset.record()
        assert json.loads(json.dumps(record)) == record
        assert set(record) == {field.name for field in fields(preset)}


@pytest.mark.parametrize(
    ('name', 'original', 'expected'),
    [
        ('stt_davis_s8', (480, 854), (480, 854)),
        ('stt_davis_s8', (480, 1152), (480, 1152)),
        # 1080 * (480 / 1080) is a little less than 480 in floating point.
        ('stt_davis_s8', (1080, 1920), (480, 853)),
        ('stt_davis_s8', (320, 240), (640, 480)),
        ('stt_vip_s8', (1080, 1920), (560, 560)),
        ('crw_davis', (480, 854), (480, 854)),
        ('dino_davis_p16', (480, 854), (480, 832)),
        ('dino_davis_p16', (854, 480), (832, 480)),
        ('dino_davis_p16', (1080, 1920), (480, 832)),
    ],
)
def test_input_size(name, original, expected):
    assert PRESETS[name].input_size(original) == expected


def sides_by_fractions(height, width, protocol):
    """The rules for both sides, in fractions."""
    multiple = protocol.multiple
    if protocol.long_side is None:
        given, width_first = protocol.short_side, height > width
    else:
        given, width_first = protocol.long_side, width > height
    first, second = (width, height) if width_first else (height, width)
    if protocol.rounding == 'up':
        given = math.ceil(Fraction(given, multiple)) * multiple
        other = math.ceil(Fraction(second * given, first) / multiple) * multiple
    else:
        other = max(math.floor(Fraction(second * given, first) / multiple), 1) * multiple
    return (other, given) if width_first else (given, other)


@settings(deadline=None, max_examples=200)
@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    side=st.integers(16, 2000),
    multiple=st.integers(1, 64),
    rounding=st.sampled_from(['other', 'up']),
    which=st.sampled_from(['short_side', 'long_side']),
)
def test_the_other_side_follows_the_given_one(height, width, side, multiple, rounding, which):
    sides = dict(dict(short_side=None), **{which: side})
    protocol = get_protocol(dict(name='dino_davis_p16', multiple=multiple, rounding=rounding, **sides))
    assert protocol.input_size((height, width)) == sides_by_fractions(height, width, protocol)


def test_frames_at_their_own_size_are_rounded_up_on_both_sides():
    protocol = get_protocol(dict(name='dinov3_davis_s', short_side=None))
    assert [protocol.input_size(size) for size in ((480, 854), (17, 16), (1, 33))] == [(480, 864), (32, 16), (16, 48)]


def test_a_record_made_before_a_field_was_there_says_the_same():
    record = PRESETS['mast_davis'].record()
    old = {key: value for key, value in record.items() if key not in ('rounding', 'read_out', 'data_size')}
    assert completed(old) == record
    changed = get_protocol(dict(name='dift_sd_davis', color=[[0.5, 0.4, 0.3], [1, 1, 1]]))
    assert completed(json.loads(json.dumps(changed.record()))) == changed.record()
    assert changed.changed == ('color',)
    same = {key: value for key, value in PRESETS['dift_sd_davis'].record().items() if key in ('name', 'color', 'topk')}
    assert get_protocol(same) == PRESETS['dift_sd_davis']


def test_sides_are_rounded_to_the_nearest_pixel():
    protocol = get_protocol(dict(name='stt_davis_s8', short_side=480, multiple=1))
    # 1921 / 1080 * 480 = 853.78; 298 * (480 / 298) is a little less than 480 in floating point.
    assert protocol.input_size((1080, 1921)) == (480, 854)
    assert protocol.input_size((1921, 1080)) == (854, 480)
    assert protocol.input_size((298, 298)) == (480, 480)


def test_a_change_is_recorded_and_leaves_the_preset_alone():
    changed = get_protocol(dict(name='stt_davis_s8', topk=5, temperature=0.07))
    assert changed.changed == ('topk',)
    assert str(changed) == 'stt_davis_s8 v1 changed: topk=5'
    assert changed.record()['changed'] == ['topk']
    assert changed.change(dict(radius=9)).changed == ('radius', 'topk')
    assert PRESETS['stt_davis_s8'].topk == 10
    assert str(get_protocol('stt_davis_s8')) == 'stt_davis_s8 v1'
    assert get_protocol(dict(name='stt_vip_s8', size=[280, 280])).input_size((5, 7)) == (280, 280)
    with pytest.raises(FrozenInstanceError):
        changed.topk = 3


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ('stt_davis_8', "Did you mean 'stt_davis_s8'"),
        (dict(topk=5), 'No protocol is called None'),
        (dict(name='stt_davis_s8', top_k=5), 'no field top_k to change'),
        (dict(name='stt_davis_s8', version=2), 'no field version'),
        (dict(name='stt_davis_s8', window='disc'), "window must be one of 'square', 'circle' or None, got 'disc'"),
        (dict(name='stt_davis_s8', topk=0), 'topk must be at least 1 and at most'),
        (dict(name='stt_davis_s8', size=(30, 40)), 'short_side or size, not both'),
        (dict(name='stt_vip_s8', size=(3, 4, 5)), r'size must be \(an integer, an integer\) or None, got \(3, 4, 5\)'),
        (dict(name='vfs_davis_r18', radius=0), 'is empty'),
        (dict(name='stt_davis_s8', short_side=7), 'short_side must be at least one cell of 8 pixels, got 7'),
        (dict(name='stt_vip_s8', size=(560, 4)), 'at least one cell of 8 pixels'),
        (dict(name='stt_vip_s8', size=(560, 10**6)), 'at most 16384'),
        (dict(name=['stt_davis_s8']), 'No protocol is called'),
        (5, 'A protocol is a name or a dict'),
        (None, 'A protocol is a name or a dict'),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        get_protocol(settings)


KINDS = dict(
    short_side='integer',
    size='tuple',
    multiple='integer',
    stride='integer',
    num_context='integer',
    topk='integer',
    radius='number',
    temperature='number',
    normalize='switch',
    first_window='switch',
    strict='switch',
    min_max='switch',
    color='choice',
    first_frame='choice',
    window='choice',
    ties='choice',
    first_label='choice',
    output='choice',
    first_output='choice',
    points='choice',
)
# Values that are none of a kind, and the numbers out of range that all numbers share.
WRONG = dict(
    integer=[
        2.5,
        10.0,
        'ten',
        '10',
        True,
        NAN,
        INF,
        -1,
        0,
        10**30,
        [8],
        (8,),
        {},
        np.float32(8),
        np.bool_(True),
        np.array([8, 8]),
    ],
    number=['1', True, NAN, INF, -INF, -1.0, 1e30, 10**30, None, [1.0], 1j, np.float64(NAN), np.bool_(True)],
    tuple=[
        560,
        'big',
        (560,),
        (560, 560, 560),
        (560.0, 560),
        (0, 560),
        (True, 560),
        (None, 560),
        (NAN, 560),
        (10**7, 560),
        ('560', '560'),
        np.array([560, 560]),
    ],
    switch=[0, 1, 'False', 'true', None, 1.0, NAN, np.int64(1), [True]],
    choice=['', 'other', 1, True, NAN, ['lab'], ('cut',), {}, 'LAB'],
)


@pytest.mark.parametrize(
    ('field', 'wrong'),
    [pytest.param(field, wrong, id=f'{field}-{wrong!r}') for field, kind in KINDS.items() for wrong in WRONG[kind]],
)
def test_a_mistyped_field_is_refused_by_name(field, wrong):
    name = 'stt_vip_s8' if field == 'size' else 'stt_davis_s8'
    with pytest.raises(ValueError, match=rf'^Protocol {name}: .*\b{field}\b.* got') as caught:
        get_protocol(dict(name=name, **{field: wrong}))
    assert len(str(caught.value).splitlines()) == 1


def test_every_field_is_tried():
    assert set(KINDS) == set(FIELDS)


@pytest.mark.parametrize('value', [0, 1e-30, -0.0, 1e-7])
def test_a_temperature_that_leaves_float32_is_refused(value):
    with pytest.raises(ValueError, match='temperature must be at least 1e-06'):
        get_protocol(dict(name='stt_davis_s8', temperature=value))


def test_numbers_of_numpy_are_numbers():
    changed = get_protocol(
        dict(
            name='stt_davis_s8',
            topk=np.int64(5),
            radius=np.float32(2.5),
            strict=np.bool_(True),
            num_context=np.int32(20),
        )
    )
    assert changed.changed == ('radius', 'strict', 'topk')
    assert json.loads(json.dumps(changed.record()))['topk'] == 5
    sized = get_protocol(dict(name='stt_vip_s8', size=[np.int64(80), 64]))
    assert sized.size == (80, 64)
    assert all(type(side) is int for side in sized.size)


@pytest.mark.parametrize('window', ['square', 'circle'])
@pytest.mark.parametrize('radius', [10**6, 10**9, 1e9])
def test_a_radius_beyond_the_frame_is_the_whole_frame(radius, window):
    torch.manual_seed(0)
    features, label = torch.rand(3, 8, 6, 7), torch.rand(3, 6, 7)
    found = []
    for changes in (dict(radius=radius, window=window), dict(window=None)):
        propagator = LabelPropagator(dict(name='stt_davis_s8', **changes))
        propagator.start(features[0], label)
        found.append([propagator.step(feature) for feature in features[1:]])
    assert all(map(torch.equal, *found))
