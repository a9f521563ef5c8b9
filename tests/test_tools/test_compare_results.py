"""Results side by side."""

import importlib
import json
from pathlib import Path

import pytest

from stt_mm.protocols import get_protocol

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis'))
    return importlib.import_module('compare_results')


def write(path, metrics, max_frames=None, **protocol):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(metrics=metrics, protocol=protocol, max_frames=max_frames)))
    return str(path)


def test_common_metrics_and_differing_fields_are_shown(tool, tmp_path, capsys):
    first = write(
        tmp_path / 'one.json', {'J&F-Mean': 0.5, 'J-Mean': 0.4}, color='lab', topk=10, changed=[], source='a paper'
    )
    second = write(
        tmp_path / 'second.json', {'J-Mean': 0.3, 'J&F-Mean': 0.61239}, 25, color='rgb', topk=10, changed=['color']
    )
    tool.main([first, second])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ['J&F-Mean', 'J-Mean'],
        ['one', '0.5000', '0.4000'],
        ['second', '0.6124', '0.3000'],
    ]
    assert lines[3:] == ['not the same color: one "lab", second "rgb"', 'not the same max_frames: one null, second 25']
    tool.main([first])
    assert 'not the same' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        *(
            (text, 'a.json is no result of tools/test.py, the file that its --out names')
            for text in (
                '{"metrics": {}}',
                '{"metrics": 3, "protocol": null, "max_frames": null}',
                '{"metrics": {}, "protocol": [1], "max_frames": null}',
                '[1]',
                '3',
                '"metrics"',
            )
        ),
        ('J&F 70', 'a.json is no valid JSON'),
        ('\0', 'a.json is no text'),
        ('{"protocol": {}, "max_frames": null, "metrics": {"mIoU": null}}', 'a.json is no result of tools/test.py'),
    ],
)
def test_other_files_are_refused(tool, tmp_path, capsys, text, message):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path / 'a.json')])
    assert message in capsys.readouterr().err


def test_files_of_one_name_are_called_by_their_folders(tool, tmp_path, capsys):
    files = [write(tmp_path / folder / 'result.json', {'mIoU': 0.5}) for folder in ('seed0', 'seed1')]
    tool.main(files)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ['seed0/result', 'seed1/result']


def test_results_that_cannot_be_told_apart_or_compared_are_refused(tool, tmp_path, capsys):
    first = write(tmp_path / 'a.json', {'mIoU': 0.5})
    other = write(tmp_path / 'b.json', {'J-Mean': 0.5})
    for files, message in (([first, first], 'is named twice'), ([first, other], 'a, b have no metric in common')):
        with pytest.raises(SystemExit):
            tool.main(files)
        assert message in capsys.readouterr().err


def test_of_three_results_one_differs_and_one_has_no_protocol(tool, tmp_path, capsys):
    """Fields that only some have, in their order; the sources of the numbers are no difference."""
    files = [
        write(tmp_path / f'{name}.json', dict(mIoU=score, extra=1.0), topk=topk)
        for name, score, topk in (('a', 0.1, 5), ('b', 0.2, 5), ('c', 0.3, 7))
    ]
    (tmp_path / 'd.json').write_text(json.dumps(dict(metrics=dict(mIoU=0.4), protocol=None, max_frames=3)))
    tool.main(files[:2])
    assert capsys.readouterr().out.count('not the same') == 0
    tool.main(files)
    assert capsys.readouterr().out.splitlines()[-1] == 'not the same topk: a 5, b 5, c 7'
    tool.main([files[0], str(tmp_path / 'd.json')])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [['mIoU'], ['a', '0.1000'], ['d', '0.4000']]
    assert lines[3:] == ['not the same topk: a 5, d null', 'not the same max_frames: a null, d 3']


def test_a_result_that_is_older_than_a_field_has_what_it_then_was(tool, tmp_path, capsys):
    record = get_protocol('stt_davis_s8').record()
    old = {key: value for key, value in record.items() if key not in ('read_out', 'rounding')}
    for name, protocol in (('old', old), ('new', record), ('other', dict(record, read_out='nearest'))):
        content = dict(metrics=dict(mIoU=0.4), protocol=protocol, max_frames=None)
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    tool.main([str(tmp_path / 'old.json'), str(tmp_path / 'new.json')])
    assert 'not the same' not in capsys.readouterr().out
    tool.main([str(tmp_path / 'old.json'), str(tmp_path / 'other.json')])
    assert capsys.readouterr().out.splitlines()[-1] == 'not the same read_out: old "bilinear", other "nearest"'
