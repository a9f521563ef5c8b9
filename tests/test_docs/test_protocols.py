"""docs/protocols.md names every preset, field and config that exists, and no other."""

import re
from dataclasses import fields, replace
from pathlib import Path

from mmengine.config import Config

from stt_mm.protocols import PRESETS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'protocols.md').read_text(encoding='utf-8')


def test_every_field_and_preset_is_described():
    rows = [line.split('|')[1] for line in PAGE.splitlines() if line.startswith('| `')]
    named = {name for row in rows for name in re.findall(r'`(\w+)`', row)}
    described = {field.name for field in fields(PRESETS['stt_davis_s8'])} - {'name', 'version', 'source', 'changed'}
    assert described <= named
    assert set(PRESETS) <= named
    assert {name for name in named if re.fullmatch(r'\w+_(davis|vip|jhmdb|ytv|mose|tapvid|badja)(_\w+)?', name)} == set(
        PRESETS
    )


def test_numbers_of_the_table_are_those_of_the_presets():
    for line in PAGE.splitlines():
        cells = [cell.replace('*', '').strip() for cell in line.strip('|').split('|')]
        if len(cells) != 7 or not cells[0].startswith('`'):
            continue
        presets = [PRESETS[name] for name in re.findall(r'`(\w+)`', cells[0])]
        first = presets[0]
        assert re.match(r'\d+', cells[3]).group() == str(first.num_context), line
        assert ('not windowed' in cells[3]) is not first.first_window, line
        assert first.first_frame in cells[3], line
        if first.window is None:
            assert cells[4] == 'whole frame', line
        else:
            assert re.findall(r'\d+', cells[4].split(',')[0])[:1] == [str(first.radius)], line
            assert all(str(preset.radius) in cells[4] for preset in presets), line
        assert ('disc' in cells[4]) is (first.window == 'circle'), line
        assert cells[5].startswith(f'{first.topk if first.vote == "topk" else first.vote}, {first.temperature:g}'), line
        assert ('zeros outside' in cells[4]) is (first.border == 'zero'), line
        assert ('long search' in cells[4]) is (first.long_search is not None), line
        assert ('fed back' in cells[6]) is (first.feedback != 'soft'), line
        assert ('stretched maps fed back' in cells[6]) is (first.feedback == 'stretched'), line
        assert ('no min-max' in cells[6]) is not first.min_max or first.points, line
        assert ('ties kept' in cells[5]) is (first.ties == 'kept'), line


def test_every_preset_has_a_config():
    used = set()
    for path in (ROOT / 'configs' / 'eval').glob('*.py'):
        cfg = Config.fromfile(path)
        used.add(cfg.model.propagator.protocol.name)
    variants = (ROOT / 'configs' / 'eval' / 'README.md').read_text(encoding='utf-8')
    used |= set(re.findall(r'protocol\.name=(\w+)', variants))
    # DINOv3 has the same numbers for all data sets.
    same = {name.replace('_davis_', f'_{data}_') for name in used if 'dinov3' in name for data in ('ytv', 'mose')}
    assert set(PRESETS) == used | same
    for name in same:
        davis = PRESETS[re.sub('_(ytv|mose)_', '_davis_', name)]
        assert replace(PRESETS[name], name=davis.name) == davis


def test_the_text_below_the_scores_of_all_protocols_states_their_span():
    text = PAGE.split('## One network under 18 protocols')[1].split('\n## ')[0]
    scores = [float(score) for score in re.findall(r'^\| `\w+` \| (\d+\.\d) \|', text, re.MULTILINE)]
    assert len(scores) == 18
    assert f'anything from {min(scores)} to {max(scores)}' in text
    span = re.search(r'Among the upper nine rows, [^.]*? (\d\.\d) points remain', text)
    assert float(span[1]) == round(scores[0] - scores[8], 1)
