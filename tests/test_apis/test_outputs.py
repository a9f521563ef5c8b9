"""Files of results: where they may go, and lists that are whole whenever they end."""

import json

import pytest

from stt_mm.apis.outputs import check_outputs
from stt_mm.utils.text import json_list


def test_folders_are_made_and_nothing_is_left_in_them(tmp_path):
    for _ in range(2):
        check_outputs([None], tmp_path / 'a/b/v.mp4', tmp_path / 'c/d', tmp_path / 'e/f/p.json', 'mine')
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')) == [
            'a',
            'a/b',
            'c',
            'c/d',
            'e',
            'e/f',
        ]
    check_outputs([], None, None, None, 'mine')


def test_each_result_has_a_place_of_its_own_where_nothing_is_read(tmp_path):
    for name in ('read/v.mp4', 'out/0.png', 'film.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for given, message in (
        (('film.mp4', 'new', 'film.mp4'), 'the video and the points would both'),
        (('new', 'new', None), 'the video and the masks would both'),
        ((None, 'new', 'new'), 'the points and the masks would both'),
        (('read/v.mp4', None, None), 'read here and would be replaced'),
        ((None, None, 'read/v.mp4'), 'read here and would be replaced'),
        ((None, 'read', None), 'holds .* is read'),
        ((None, 'out', None), 'the results would mix'),
    ):
        out, masks, points = (None if name is None else tmp_path / name for name in given)
        with pytest.raises(ValueError, match=message):
            check_outputs([tmp_path / 'read' / 'v.mp4'], out, masks, points, 'mine')
    check_outputs([], None, tmp_path / 'out', None, 'mine', overwrite=True)
    assert (tmp_path / 'out' / '0.png').exists(), 'nothing is removed yet'


@pytest.mark.parametrize('count', [0, 1, 2])
@pytest.mark.parametrize('fails', [False, True])
def test_a_list_is_whole_after_any_number_of_entries(tmp_path, count, fails):
    try:
        with json_list(tmp_path / 'a.json') as add:
            for number in range(count):
                add(dict(index=number))
            if fails:
                raise KeyError
    except KeyError:
        pass
    text = (tmp_path / 'a.json').read_text()
    assert json.loads(text) == [dict(index=number) for number in range(count)]
    assert text.count('\n') == (count + 2 if count else 1)
