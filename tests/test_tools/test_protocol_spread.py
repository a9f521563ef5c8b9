"""One network under many protocols: which, with what of the network kept, and what is written."""

import csv
import json
from pathlib import Path

import pytest
from test_engine.toy_runs import tool
from tiny_data import make_davis

from stt_mm.engine import load_config
from stt_mm.protocols import PRESETS, get_protocol

CONFIG = 'eval/davis_r18_s8'


@pytest.fixture(scope='module')
def spread():
    return tool('analysis/protocol_spread')


def test_all_of_the_benchmark_and_the_own_one_first(spread):
    cfg = load_config(CONFIG)
    names = spread.chosen(cfg, None)
    assert names[0] == 'stt_davis_s8'
    assert set(names) == {name for name in PRESETS if '_davis' in name}
    assert spread.chosen(cfg, ['crw_davis', 'crw_davis']) == ['stt_davis_s8', 'crw_davis']
    assert spread.chosen(load_config('eval/vip_r18_s8'), None)[:1] == ['stt_vip_s8']
    assert all(spread.benchmark_of(name) for name in PRESETS)
    with pytest.raises(ValueError, match='No protocol is called'):
        spread.chosen(cfg, ['crw_davi'])


def test_colours_are_those_of_the_network_and_all_else_the_protocol(spread):
    cfg = load_config(CONFIG, {'model.propagator.protocol.topk': 7})
    own, other = (
        get_protocol(spread.config_of(cfg, name).model.propagator.protocol)
        for name in ('stt_davis_s8', 'vfs_davis_r18')
    )
    preset = get_protocol('vfs_davis_r18')
    assert (own.topk, own.color, preset.color) == (7, 'lab', 'rgb')
    assert (other.name, other.color, other.topk) == ('vfs_davis_r18', 'lab', preset.topk)
    said = spread.differences(cfg, 'vfs_davis_r18')
    assert f'topk {preset.topk}' in said
    assert 'color' not in said
    assert spread.differences(cfg, 'stt_davis_s8') == ''
    # What protocols differ in is all told, also where it is one field.
    said = {name: spread.differences(cfg, name) for name in ('dinov3_davis_m', 'dinov3_davis_m_p14', 'dino_davis_p16')}
    assert ('ties kept' in said['dino_davis_p16'], 'multiple 64' in said['dino_davis_p16']) == (True, True)
    assert set(said['dinov3_davis_m_p14'].split(', ')) - set(said['dinov3_davis_m'].split(', ')) >= {'multiple 14'}
    assert cfg.model.propagator.protocol.topk == 7


def test_protocols_are_run_once_and_stand_in_a_table_and_a_picture(spread, tmp_path, monkeypatch, capsys):
    """With steps that write at once what tools/test.py writes."""
    make_davis(tmp_path / 'data', num_videos=1)
    scores, calls = {'stt_davis_s8': 0.5, 'crw_davis': 0.75, 'mast_davis': 0.25}, []

    def step(arguments, root, log, label, lock):
        calls.append((label, arguments))
        out = Path(arguments[arguments.index('--out') + 1])
        added = {'J&F-Mean': 0, 'J-Mean': -0.05, 'J-Decay': 0.2, 'F-Mean': 0.05}
        values = {name: scores[label] + more for name, more in added.items()}
        out.write_text(json.dumps(dict(metrics=values, checkpoint=dict(path=None, sha8=None))))

    monkeypatch.setattr(spread, 'run_step', step)
    line = [
        CONFIG,
        'none',
        '--work-dir',
        tmp_path / 'work',
        '--protocols',
        'mast_davis',
        'crw_davis',
        '--allow-other-geometry',
    ]
    line += ['--cfg-options', f'test_dataloader.dataset.data_root={tmp_path / "data"}']
    for _ in range(2):
        spread.main([*map(str, line)])
    assert [label for label, _ in calls] == ['stt_davis_s8', 'mast_davis', 'crw_davis']
    assert all(arguments[0] == 'tools/test.py' and '--allow-other-geometry' in arguments for _, arguments in calls)
    table = (tmp_path / 'work' / 'table.md').read_text()
    assert [row.split('`')[1] for row in table.splitlines()[2:]] == ['crw_davis', 'stt_davis_s8', 'mast_davis']
    assert '| `crw_davis` | 75.0 | 70.0 | 80.0 | ' in table
    assert '| `stt_davis_s8` | 50.0 | 45.0 | 55.0 |  |' in table
    rows = list(csv.DictReader((tmp_path / 'work' / 'runs.csv').open()))
    assert [row['protocol'] for row in rows] == ['stt_davis_s8', 'mast_davis', 'crw_davis']
    assert (tmp_path / 'work' / 'spread.png').stat().st_size > 1000
    assert table in capsys.readouterr().out
    with pytest.raises(SystemExit):
        spread.main([*map(str, line), 'model.propagator.protocol.topk=3'])
    assert 'was written for other settings' in capsys.readouterr().err
    # Another checkpoint has other numbers.
    (tmp_path / 'other.pth').write_bytes(b'weights')
    with pytest.raises(SystemExit):
        spread.main([CONFIG, str(tmp_path / 'other.pth'), *map(str, line[2:])])
    assert 'result.json is of another checkpoint' in capsys.readouterr().err


def test_measures_are_in_percent_and_counts_are_left_out(spread):
    joints = {'STT/PCK@0.1': 63.1, 'STT/PCK@0.2': 82.9, 'STT/lost joints': 3}
    lines = spread.table({'a': joints, 'b': joints | {'STT/PCK@0.1': 70.0}}, dict(a='', b='')).splitlines()
    assert lines[0] == '| protocol | STT/PCK@0.1 | STT/PCK@0.2 | differs in |'
    assert lines[2:] == ['| `b` | 70.0 | 82.9 |  |', '| `a` | 63.1 | 82.9 |  |']
    lines = spread.table({'a': {'PCK@0.2': 53.5, 'lost joints': 2}}, dict(a='')).splitlines()
    assert lines[2] == '| `a` | 53.5 |  |'
    assert spread.table({'a': {'mIoU': 0.4}}, dict(a='')).splitlines()[2] == '| `a` | 40.0 |  |'
