import zipfile

import numpy as np
import pytest
from PIL import Image

from stt_mm.errors import InputError
from stt_mm.utils import mask_folder, write_mask
from stt_mm.utils.mask_folder import ExpectedMasks, check_extra, check_video, check_zip, expected_masks, given_births


def test_ids_are_legal_from_their_birth_on_in_the_frames_that_are_wanted():
    births = given_births({0: np.array([[0, 1]]), 2: np.array([[0, 7]])})
    assert births == {1: 0, 7: 2}
    sample = dict(frame_names=list('abcd'), original_size=[1, 2], output_frames=[True, False, True, True])
    expected = expected_masks(sample, births)
    assert expected.size == (1, 2)
    assert expected.frames == {'a': {1}, 'c': {1, 7}, 'd': {1, 7}}
    del sample['output_frames']
    assert list(expected_masks(sample, births).frames) == list('abcd')


def test_background_is_legal_and_nothing_else_unless_named(tmp_path):
    expected = expected_masks(dict(frame_names=['a', 'b'], original_size=(2, 3)), {4: 1})
    write_mask(tmp_path / 'v' / 'a.png', np.zeros((2, 3), np.uint8))
    write_mask(tmp_path / 'v' / 'b.png', np.full((2, 3), 4, np.uint8))
    masks, faults = check_video(tmp_path / 'v', expected)
    assert (sorted(masks), faults, masks['b'].tolist()) == (['a', 'b'], [], [[4] * 3] * 2)
    write_mask(tmp_path / 'v' / 'a.png', np.full((2, 3), 4, np.uint8))
    masks, faults = check_video(tmp_path / 'v', expected)
    assert list(masks) == ['b']
    assert faults == [f'{tmp_path / "v" / "a.png"}: illegal ids [4]; this frame may hold []']
    assert check_extra(tmp_path, {'v': expected}) == []
    assert check_extra(tmp_path, {'w': expected}) == [
        f'{tmp_path / "v"}: extra folder, no video of that name is expected'
    ]


def test_a_member_that_unpacks_to_more_than_a_mask_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr('stt_mm.utils.mask_folder.MAX_MEMBER_BYTES', 2**20)
    with zipfile.ZipFile(tmp_path / 'masks.zip', 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('v/00000.png', bytes(2**20 + 1))
    videos = {'v': ExpectedMasks((4, 4), {'00000': frozenset({1})})}
    (fault,) = check_zip(tmp_path / 'masks.zip', videos, tmp_path / 'out')
    assert fault == f'{tmp_path}/masks.zip/v/00000.png: unpacks to 1 MiB, which is no mask'
    assert not list((tmp_path / 'out').rglob('*.png'))


def test_what_is_wrong_with_a_mask_is_told(tmp_path):
    names = ('right', 'missing', 'broken', 'colours', 'other', 'deep', 'size', 'ids')
    expected = ExpectedMasks((2, 3), dict.fromkeys(names, frozenset({1, 2})))
    ids = np.array([[0, 1, 2], [0, 0, 0]], np.uint8)
    for name in ('right', 'size', 'ids'):
        write_mask(tmp_path / f'{name}.png', {'size': ids[:1], 'ids': ids + 3}.get(name, ids))
    (tmp_path / 'broken.png').write_bytes(b'')
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / 'colours.png')
    Image.fromarray(ids).convert('P').save(tmp_path / 'other.png', format='GIF')
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / 'deep.png')
    masks, faults = check_video(tmp_path, expected)
    assert {name: mask.tolist() for name, mask in masks.items()} == {'right': ids.tolist()}
    told = {fault.split(': ')[0].rpartition('/')[2]: fault.split(': ', 1)[1] for fault in faults}
    assert told['missing.png'] == 'the mask is missing'
    assert told['size.png'] == '1x3 (height x width), but the frame is 2x3'
    assert told['ids.png'] == 'illegal ids [3, 4, 5]; this frame may hold [1, 2]'
    assert told['other.png'].startswith('a GIF image of mode')
    assert told['deep.png'].startswith('a PNG image of mode I')
    assert told['colours.png'].startswith('is an image of mode RGB')
    assert told['broken.png'].startswith('cannot be used: it is empty')
    assert len(faults) == 7
    assert check_video(tmp_path / 'none', expected) == (
        {},
        [f'{tmp_path}/none: the video is missing, 8 masks are expected there'],
    )


def test_extra_files_and_folders_are_told_and_hidden_or_free_ones_are_not(tmp_path):
    for name in (
        'a/v/0.png',
        'a/v/1.png',
        'a/v/.hidden',
        'a/.git/x',
        'a/w/2.png',
        'b/f/any',
        'b/f/deep/any',
        'b/g.txt',
        'top.txt',
        '.top',
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    faults = check_extra(tmp_path, {'a/v': ExpectedMasks((2, 2), {'0': frozenset(), 'none': frozenset()})}, ['b/f'])
    assert sorted(faults) == sorted(
        [
            f'{tmp_path}/top.txt: extra file, no mask of that name is expected',
            f'{tmp_path}/a/v/1.png: extra file, no mask of that name is expected',
            f'{tmp_path}/b/g.txt: extra file, no mask of that name is expected',
            f'{tmp_path}/a/w: extra folder, no video of that name is expected',
        ]
    )


def test_members_of_a_zip_that_are_folders_damaged_or_twice_there(tmp_path):
    assert mask_folder.MAX_MEMBER_BYTES == 67_108_864
    path, videos = tmp_path / 'a.zip', {'v/w': ExpectedMasks((2, 2), {name: frozenset() for name in '012'})}
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('v/', '')
        archive.writestr('v/w/0.png', b'zero')
        with pytest.warns(UserWarning, match='Duplicate name'):
            archive.writestr('v/w/0.png', b'twice')
        archive.writestr('v/w/1.png', b'number one')
        archive.writestr('v/w/2.png', b'two')
    path.write_bytes(path.read_bytes().replace(b'number one', b'number 1ne'))
    faults = check_zip(path, videos, tmp_path / 'out')
    assert faults[0] == f'{path}/v/w/0.png: extra file, no mask of that name, or no second one, is expected'
    assert faults[1].startswith(f'{path}/v/w/1.png: cannot be unpacked (Bad CRC')
    assert len(faults) == 2
    assert [(tmp_path / 'out' / 'v' / 'w' / f'{name}.png').read_bytes() for name in '02'] == [b'zero', b'two']
    (tmp_path / 'b.zip').write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r'b\.zip is no zip file, or it is cut off'):
        check_zip(tmp_path / 'b.zip', videos, tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match=r'no file .*c\.zip'):
        check_zip(tmp_path / 'c.zip', videos, tmp_path / 'out')


def test_the_largest_member_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_folder, 'MAX_MEMBER_BYTES', 10)
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('v/0.png', bytes(10))
    videos = {'v': ExpectedMasks((2, 2), {'0': frozenset()})}
    assert check_zip(tmp_path / 'a.zip', videos, tmp_path / 'out') == []


def test_a_member_of_a_zip_without_a_name_is_extra(tmp_path):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('0.png', b'zero')
    # What lies at the end names the members; the name there gets no length.
    data = bytearray(path.read_bytes())
    place = data.index(b'PK\1\2')
    data[place + 28] = 0
    data[place + 32] = 5  # What was the name is taken for a comment.
    path.write_bytes(data)
    assert zipfile.ZipFile(path).namelist() == ['']
    faults = check_zip(path, {'': ExpectedMasks((2, 2), {'0': frozenset()})}, tmp_path / 'out')
    assert faults == [f'{path}/: extra file, no mask of that name, or no second one, is expected']
