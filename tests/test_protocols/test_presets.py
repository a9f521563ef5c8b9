import json
from dataclasses import FrozenInstanceError, fields

import pytest

from stt_mm.protocols import PRESETS, get_protocol

# (short side or size, colour, window, radius, strict, k, temperature, context), from the methods' configs and papers.
PUBLISHED = {
    'stt_davis_s8': (480, 'lab', 'square', 12, False, 10, 0.07, 20),
    'stt_davis_s4': (480, 'lab', 'square', 35, False, 10, 0.07, 20),
    'stt_vip_s8': ((560, 560), 'lab', 'square', 16, False, 10, 0.07, 20),
    'stt_vip_s4': ((560, 560), 'lab', 'square', 35, False, 10, 0.07, 20),
    'stt_jhmdb_s8': ((320, 320), 'lab', 'square', 5, False, 10, 0.07, 20),
    'stt_jhmdb_s4': ((320, 320), 'lab', 'square', 12, False, 10, 0.07, 20),
    'vfs_davis_r18': (480, 'rgb', 'circle', 12, True, 10, 0.07, 20),
    'vfs_davis_r50': (480, 'rgb', 'circle', 18, True, 10, 0.07, 20),
    'crw_davis': (None, 'rgb', 'circle', 12, True, 10, 0.05, 20),
    'crw_vip': ((560, 560), 'rgb', 'circle', 12, True, 10, 0.05, 4),
    'crw_jhmdb': ((320, 320), 'rgb', 'circle', 12, True, 10, 0.05, 7),
    'dino_davis_p16': (480, 'rgb_dino', 'square', 12, False, 5, 0.1, 7),
    'dino_davis_p8': (480, 'rgb_dino', 'square', 12, False, 5, 0.1, 7),
    'sfc_davis': (None, 'rgb', 'circle', 12, True, 10, 0.05, 20),
    'sfc_fusion_davis': (None, 'rgb', 'circle', 15, True, 15, 0.1, 20),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_numbers(name):
    p = PRESETS[name]
    assert (p.size or p.short_side, p.color, p.window, p.radius, p.strict, p.topk, p.temperature,
            p.num_context) == PUBLISHED[name]


def test_every_preset_is_complete_and_goes_into_a_result_file():
    assert set(PUBLISHED) | {'stt_ytv_s8', 'stt_ytv_s4'} == set(PRESETS)
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.source
        assert preset.changed == ()
        record = preset.record()
        assert json.loads(json.dumps(record)) == record
        assert set(record) == {field.name for field in fields(preset)}


@pytest.mark.parametrize(('name', 'original', 'expected'), [
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
])
def test_input_size(name, original, expected):
    assert PRESETS[name].input_size(original) == expected


def test_a_change_is_recorded_and_leaves_the_preset_alone():
    changed = get_protocol(dict(name='stt_davis_s8', topk=5, temperature=0.07))
    assert changed.changed == ('topk', )
    assert str(changed) == 'stt_davis_s8 v1 changed: topk=5'
    assert changed.record()['changed'] == ['topk']
    assert PRESETS['stt_davis_s8'].topk == 10
    assert str(get_protocol('stt_davis_s8')) == 'stt_davis_s8 v1'
    assert get_protocol(dict(name='stt_vip_s8', size=[280, 280])).input_size((5, 7)) == (280, 280)
    with pytest.raises(FrozenInstanceError):
        changed.topk = 3


@pytest.mark.parametrize(('settings', 'message'), [
    ('stt_davis_8', "Did you mean 'stt_davis_s8'"),
    (dict(topk=5), 'No protocol is called None'),
    (dict(name='stt_davis_s8', top_k=5), 'no field top_k to change'),
    (dict(name='stt_davis_s8', version=2), 'no field version'),
    (dict(name='stt_davis_s8', window='disc'), "window must be one of 'square', 'circle', None"),
    (dict(name='stt_davis_s8', topk=0), 'topk must be positive'),
    (dict(name='stt_davis_s8', size=(3, 4)), 'short_side or size, not both'),
    (dict(name='stt_vip_s8', size=(3, 4, 5)), r'size must be \(height, width\)'),
    (dict(name='vfs_davis_r18', radius=0), 'is empty'),
])
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        get_protocol(settings)
