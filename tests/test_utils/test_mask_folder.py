import zipfile

import numpy as np
import pytest

from stt_mm.utils import write_mask
from stt_mm.utils.mask_folder import ExpectedMasks, check_extra, check_video, check_zip, expected_masks, given_births
from stt_mm.utils.submission import write_submission


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


def test_a_submission_is_packed_and_unpacked(tmp_path):
    expected = expected_masks(dict(frame_names=['b', 'a'], original_size=(2, 3)), {})
    for name in ('a', 'b'):
        write_mask(tmp_path / 'v' / f'{name}.png', np.zeros((2, 3), np.uint8))
    files = {f'top/v/{name}.png': tmp_path / 'v' / f'{name}.png' for name in expected.frames}
    for target in ('first.zip', 'second.zip'):
        write_submission(tmp_path / target, files)
    assert (tmp_path / 'first.zip').read_bytes() == (tmp_path / 'second.zip').read_bytes()
    assert check_zip(tmp_path / 'first.zip', {'v': expected}, tmp_path / 'out', 'top') == []
    assert check_video(tmp_path / 'out' / 'v', expected)[1] == []
    faults = check_zip(tmp_path / 'first.zip', {'v': expected}, tmp_path / 'none')
    assert [fault.split(': ')[1][:10] for fault in faults] == ['extra file'] * 2
    (tmp_path / 'v' / 'a.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 2 masks are missing, the first is .*a\.png'):
        write_submission(tmp_path / 'third.zip', files)
    assert not (tmp_path / 'third.zip').exists()
    with pytest.raises(ValueError, match=r'is a \.zip file, got .*third\.tar'):
        write_submission(tmp_path / 'third.tar', {})


def test_a_member_that_unpacks_to_more_than_a_mask_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr('stt_mm.utils.mask_folder.MAX_MEMBER_BYTES', 2**20)
    with zipfile.ZipFile(tmp_path / 'masks.zip', 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('v/00000.png', bytes(2**20 + 1))
    videos = {'v': ExpectedMasks((4, 4), {'00000': frozenset({1})})}
    fault, = check_zip(tmp_path / 'masks.zip', videos, tmp_path / 'out')
    assert fault == f'{tmp_path}/masks.zip/v/00000.png: unpacks to 1 MiB, which is no mask'
    assert not list((tmp_path / 'out').rglob('*.png'))
