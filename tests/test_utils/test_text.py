"""Lists and JSON as other programs write them, and what is refused by name."""

import json
import random
import re

import pytest

from stt_mm.errors import InputError
from stt_mm.utils.text import absent, check_name, read_json, read_lines, read_names, read_text, read_words, without_mark

ENCODINGS = ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32']
MARKS = {'utf-16-le': b'\xff\xfe', 'utf-16-be': b'\xfe\xff', 'utf-32-be': b'\0\0\xfe\xff'}


def write(path, text, encoding):
    path.write_bytes(MARKS.get(encoding, b'') + text.encode(encoding))
    return path


@pytest.mark.parametrize('encoding', [*ENCODINGS, *MARKS])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lists_of_any_program_are_alike(tmp_path, encoding, end):
    lines = ['bus', '', '  ice\t 25 ', 'grün/Hütte\u00a0\u200b 3 ', '\ufeffbear', '\u200b', 'bus']
    path = write(tmp_path / 'a.txt', end.join(lines), encoding)
    assert read_lines(path) == ['bus', 'ice 25', 'grün/Hütte 3', 'bear', 'bus']
    assert read_names(path) == ['bus', 'ice', 'grün/Hütte', 'bear']


@pytest.mark.parametrize('encoding', [*ENCODINGS, *MARKS])
def test_json_of_any_program_is_alike(tmp_path, encoding):
    content = {'videos': {'grün': [1, 2.5, None]}}
    path = write(tmp_path / 'a.json', json.dumps(content, ensure_ascii=False, indent=1), encoding)
    assert read_json(path) == content


def test_backslashes_are_slashes_and_one_at_the_end_goes(tmp_path):
    (tmp_path / 'a.txt').write_text('\\JPEGImages\\bus\\0.jpg \\Annotations\\bus\\0.png\nice/\nbear\\\n')
    assert read_words(tmp_path / 'a.txt')[0] == ['/JPEGImages/bus/0.jpg', '/Annotations/bus/0.png']
    assert read_names(tmp_path / 'a.txt')[1:] == ['ice', 'bear']


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'bus\nh\xfctte\n', 'is no UTF-8 text: byte 5 is 0xfc'),
        (b'\xef\xbb\xbfh\xfctte', 'byte 4 is 0xfc'),
        ('bus\n'.encode('utf-16-le'), 'byte 1 is 0. If it is UTF-16 without a byte order mark'),
        (b'\xff\xfeb\0u', 'is no UTF-16-LE text: byte 4 is 0x75'),
        (b'\x89PNG\r\n\x1a\n\0\0', 'byte 0 is 0x89'),
    ],
)
@pytest.mark.parametrize('read', [read_text, read_json, read_lines])
def test_other_text_is_refused_by_file_and_byte(tmp_path, data, message, read):
    path = tmp_path / 'list.txt'
    path.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        read(path)
    assert message in str(caught.value)
    assert 'save it as UTF-8' in str(caught.value).replace('Save', 'save')


@pytest.mark.parametrize('line', ['b\u200bus', 'b\ufeffus', 'b\u200dus', 'bus\u202eecho', 'bu\x07s'])
def test_a_character_that_cannot_be_seen_is_named(tmp_path, line):
    path = write(tmp_path / 'a.txt', f'ice\n{line}\n', 'utf-8')
    with pytest.raises(InputError, match=r'a\.txt, line 2 holds the invisible character U\+[0-9A-F]{4}: .b') as caught:
        read_lines(path)
    assert str(caught.value).isascii()


def test_the_joiners_of_persian_names_stay(tmp_path):
    path = write(tmp_path / 'a.txt', 'می\u200cروم\n', 'utf-8')
    assert read_lines(path) == ['می\u200cروم']


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No such file: .*nothing\.txt'):
        read_text(tmp_path / 'nothing.txt')
    with pytest.raises(OSError, match='cannot be read: Is a directory'):
        read_json(tmp_path)


@pytest.mark.parametrize('text', ['', '{"a": 1', '[' * 100_000, '9' * 5000, '{"a": 1} x'])
def test_broken_json_names_the_file(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(InputError, match=r'a\.json is no valid JSON'):
        read_json(tmp_path / 'a.json')


def test_damaged_json_is_read_or_refused(tmp_path):
    """300 files with a few bytes changed, inserted or cut."""
    rng, messages = random.Random(0), []
    for encoding in ENCODINGS[:3]:
        whole = json.dumps({'videos': {'bär': {'objects': {'1': {'frames': ['00000']}}}}}, ensure_ascii=False)
        for _ in range(100):
            data = bytearray(whole.encode(encoding))
            for _ in range(rng.randint(1, 3)):
                position = rng.randrange(len(data))
                data[position : position + rng.choice((0, 1, 4))] = rng.randbytes(rng.choice((0, 1, 4)))
            (tmp_path / 'a.json').write_bytes(data)
            try:
                read_json(tmp_path / 'a.json')
            except InputError as error:
                messages.append(str(error))
    assert len(messages) > 100
    assert all('a.json' in message for message in messages)


@pytest.mark.parametrize(
    'name',
    [
        '',
        '.',
        '..',
        '../a',
        'a/../b',
        'a/..',
        '/a',
        'a//b',
        'a/',
        './a',
        'C:/a',
        'c:a',
        '\\\\host\\a',
        '..\\a',
        'a\\b',
        'a\0',
        'a\nb',
        'a\u200b',
        'a\ud800',
        'a/' + 'b' * 256,
        'ü' * 128,
        'a/' * 1500 + 'a',
    ],
)
def test_names_that_point_elsewhere(name):
    with pytest.raises(InputError, match='list.txt holds the name') as caught:
        check_name(name, 'list.txt')
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    'name', ['bus', 'a/' + 'b' * 255, 'walk/clip 1', '..a', 'a..', 'grün', '00000', 'ab:c', '....']
)
def test_names_that_are_fine(name):
    check_name(name, 'list.txt')


def test_a_word_that_is_too_long_for_a_file_is_refused_by_the_list(tmp_path):
    (tmp_path / 'list.txt').write_text('bus\n' + 'x' * 5000 + ' 1\n')
    with pytest.raises(InputError, match=r"list.txt holds a word that no file can be called: 'x{40}'... of 5000"):
        read_names(tmp_path / 'list.txt')


@pytest.mark.parametrize('letter', ['b', 'ü'])
def test_a_name_has_2000_bytes_at_most(letter):
    part = letter * (99 // len(letter.encode())) + 'x' * (99 % len(letter.encode()))
    longest = '/'.join([part] * 19 + [part + 'x'])
    assert len(longest.encode()) == 2000
    check_name(longest, 'list.txt')
    with pytest.raises(InputError, match='holds the name'):
        check_name(longest + 'x', 'list.txt')


def test_invisible_characters_go_from_both_ends(tmp_path):
    path = write(tmp_path / 'a.txt', '\u200b\ufeff\u200bbus\u200b\ufeff \u200b\u200b x\u200d\n\ufeff\u200b\n', 'utf-8')
    assert read_lines(path) == ['bus x']


def test_what_is_there_in_place_of_a_file_or_folder(tmp_path):
    (tmp_path / 'a').write_text('')
    assert absent(tmp_path, 'file') == f'{tmp_path} is a folder, no file'
    assert absent(tmp_path / 'a', 'folder') == f'{tmp_path}/a is a file, no folder'
    for kind in ('file', 'folder'):
        assert absent(tmp_path / 'b', kind) == f'no {kind} {tmp_path}/b'


@pytest.mark.parametrize('encoding', [*ENCODINGS, *MARKS])
def test_the_start_of_a_text_is_without_its_mark(encoding):
    data = MARKS.get(encoding, b'') + 'grün'.encode(encoding)
    assert without_mark(data) == 'grün'.encode()
    assert without_mark(data[:-1]).startswith(b'gr')
    assert without_mark(b'\x89PNG\0') == b'\x89PNG\0'


@pytest.mark.parametrize(('text', 'reason'), [('[' * 100_000, 'nested too deeply'), ('[1', 'line 1 column 3')])
def test_why_json_is_broken_is_told(tmp_path, text, reason):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(InputError, match=rf'is no valid JSON: .*{reason}'):
        read_json(tmp_path / 'a.json')
