"""MOSE, LVOS and SA-V in small: what is given when, and what is known of which frame."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_data import make_object_videos, make_sav

from stt_mm.datasets import LVOS, MOSE, SAV
from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils import read_mask, write_mask


def sample_of(dataset, index=0):
    item = dataset[index]
    return item['inputs'], item['data_samples']


def test_mose_gives_each_object_where_it_is_first_shown(tmp_path):
    dataset = MOSE(str(make_object_videos(tmp_path, split='train')), split='train')
    frames, sample = sample_of(dataset)
    assert (len(dataset), len(frames), sample.frame_names[1]) == (2, 6, '00000006')
    assert {t: np.unique(mask).tolist() for t, mask in sample.given_masks.items()} == {0: [0, 1], 1: [0, 2]}
    assert sample.objects == {1: dict(first_frame=0), 2: dict(first_frame=1)}
    for path, frame in zip(sample.mask_paths, sample.truth, strict=True):
        # An object that is not in the picture is known not to be.
        assert set(frame.objects) == {1, 2}
        np.testing.assert_array_equal(frame.ids(), read_mask(path))
    assert len(pickle.loads(pickle.dumps(sample.truth))) == 6


def test_of_mose_valid_the_first_masks_alone_are_known(tmp_path):
    make_object_videos(tmp_path, every=99, births=(0, 0))
    _, sample = sample_of(MOSE(str(tmp_path), video_list=None))
    assert [frame is None for frame in sample.truth] == [False, *[True] * 5]
    assert list(sample.given_masks) == [0]


def test_lvos_counts_every_fifth_number_without_the_last(tmp_path):
    make_object_videos(tmp_path, num_frames=9, every=2, births=(0, 3))
    dataset = LVOS(str(tmp_path))
    _, sample = sample_of(dataset)
    # Object 2 begins in the first frame with a mask that shows it.
    assert sample.objects == {1: dict(first_frame=0), 2: dict(first_frame=4)}
    known = [None if frame is None else sorted(frame.objects) for frame in sample.truth]
    assert known == [[1], None, [1], None, [1, 2], None, [1, 2], None, None]
    assert not sample.given_masks[4][sample.given_masks[4] == 1].any()
    # Masks between, which annotators' tools may leave, do not count.
    folder = tmp_path / 'valid'
    for kind in ('JPEGImages', 'Annotations'):
        source = next((folder / kind / 'video0').iterdir())
        shutil.copy(source, source.with_stem('00000003'))
    _, sample = sample_of(LVOS(str(tmp_path)))
    assert sample.truth[sample.frame_names.index('00000003')] is None


def test_an_object_may_begin_after_the_first_frame_of_the_video(tmp_path):
    make_object_videos(tmp_path, births=(2, 3))
    for dataset in (MOSE(str(tmp_path)), LVOS(str(tmp_path))):
        _, sample = sample_of(dataset)
        assert {t: np.unique(mask).tolist() for t, mask in sample.given_masks.items()} == {0: [0], 2: [0, 1], 3: [0, 2]}


@pytest.mark.parametrize('train', [False, True])
def test_objects_of_sav_overlap(train, tmp_path):
    make_sav(tmp_path, train=train)
    dataset = SAV(str(tmp_path), split='train' if train else 'val')
    frames, sample = sample_of(dataset, 1)
    assert (len(frames), frames[12].shape, sample.frame_names[4]) == (13, (60, 80, 3), '00004')
    assert [t for t, frame in enumerate(sample.truth) if frame is not None] == [0, 4, 8, 12]
    both = [sample.truth[8].objects[k]() for k in (1, 2)]
    assert both[1].any()
    assert (both[0] & both[1]).sum() == both[1].sum()
    # In one map the smaller one lies over the larger one; the second is given where it is first shown.
    assert (sample.truth[8].ids() == 2).sum() == both[1].sum()
    assert sample.objects == {1: dict(first_frame=0), 2: dict(first_frame=4)}
    np.testing.assert_array_equal(sample.given_masks[4] == 2, sample.truth[4].objects[2]())
    cut = SAV(str(tmp_path), split='train' if train else 'val', max_frames=5, indices=1)
    assert (len(cut), len(sample_of(cut)[1].truth)) == (1, 5)


def test_a_list_chooses_videos(tmp_path):
    make_object_videos(tmp_path, num_videos=3)
    (tmp_path / 'list.txt').write_text('video2\nvideo0\n')
    dataset = LVOS(str(tmp_path), video_list='list.txt')
    assert [sample_of(dataset, k)[1].video_id for k in range(len(dataset))] == ['video2', 'video0']
    (tmp_path / 'list.txt').write_text('video2\nother\n')
    with pytest.raises(InputError, match='1 of 2 videos of .*list.txt are not there: other'):
        MOSE(str(tmp_path), video_list='list.txt')


def broken(tmp_path, change):
    make_object_videos(tmp_path)
    change(tmp_path / 'valid')
    return str(tmp_path)


def write_meta(folder, content):
    (folder / 'valid_meta.json').write_text(json.dumps(content))


SPAN = dict(frame_range=dict(start='00000001', end='00000021'))


def without_frame(folder):
    (folder / 'JPEGImages' / 'video0' / '00000001.jpg').unlink()


def without_masks(folder):
    shutil.rmtree(folder / 'Annotations' / 'video0')
    (folder / 'Annotations' / 'video0').mkdir()


def without_objects(folder):
    for path in (folder / 'Annotations' / 'video0').iterdir():
        write_mask(path, np.zeros((60, 80), np.uint8))


def of_another_size(folder):
    write_mask(folder / 'Annotations' / 'video0' / '00000006.png', np.ones((9, 9), np.uint8))


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (shutil.rmtree, MissingInputError, 'no folder .*JPEGImages'),
        (lambda folder: shutil.rmtree(folder / 'Annotations' / 'video1'), MissingInputError, 'no folder .*video1'),
        (without_frame, MissingInputError, 'no frame for mask 00000001'),
        (without_masks, MissingInputError, 'no masks in'),
        (without_objects, InputError, 'no mask of video0 shows an object'),
        (of_another_size, InputError, 'is 9x9'),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(change, error, message, tmp_path):
    root = broken(tmp_path, change)
    with pytest.raises(error, match=message):
        MOSE(root)[0]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, 'lists no videos'),
        ({'videos': {'video0': {}}}, 'video video0 has no objects'),
        ({'videos': {'video0': {'objects': {'1': SPAN}}}}, 'does not list video video1'),
        ({'videos': {'video0': {'objects': {'0': SPAN}}}}, "object '0' of video video0 must have an id from 1 to 254"),
        ({'videos': {'video0': {'objects': {'1': {}}}}}, 'a frame_range with start and end'),
        ({'videos': {'video0': {'objects': {'1': {'frame_range': {'start': 'x', 'end': 1}}}}}}, 'a frame_range'),
    ],
)
def test_what_is_wrong_with_the_file_of_lvos_is_named(content, message, tmp_path):
    root = broken(tmp_path, lambda folder: write_meta(folder, content))
    with pytest.raises(InputError, match=message):
        LVOS(root)[0]


def test_a_beginning_without_a_mask_and_a_missing_file_are_named(tmp_path):
    root = broken(tmp_path, lambda folder: (folder / 'Annotations' / 'video1' / '00000006.png').unlink())
    with pytest.raises(
        MissingInputError, match='video1 begins in frame 00000006 by .*valid_meta.json, which has no mask'
    ):
        LVOS(root)[0]
    Path(root, 'valid', 'valid_meta.json').unlink()
    with pytest.raises(MissingInputError, match='no file .*valid_meta.json'):
        LVOS(root)[0]


def test_what_is_wrong_with_sav_is_named(tmp_path):
    with pytest.raises(MissingInputError, match='no folder .*sav_val'):
        SAV(str(tmp_path))[0]
    with pytest.raises(ValueError, match='split'):
        SAV(str(tmp_path), split='valid')
    make_sav(tmp_path)
    masks = tmp_path / 'sav_val' / 'Annotations_6fps' / 'sav_000000'
    shutil.copytree(masks / '001', masks / 'cat')
    with pytest.raises(InputError, match='the folder of an object is called 000 to 253'):
        SAV(str(tmp_path))[0]
    shutil.rmtree(masks / 'cat')
    shutil.copy(masks / '001' / '00004.png', masks / '001' / '00099.png')
    with pytest.raises(MissingInputError, match='has masks of 00099, which is no frame of the video'):
        SAV(str(tmp_path))[0]
    for folder in ('000', '001'):
        shutil.rmtree(masks / folder)
    with pytest.raises(MissingInputError, match='holds no masks, <object>/<frame>.png'):
        SAV(str(tmp_path))[0]
    make_sav(tmp_path, train=True)
    path = tmp_path / 'sav_train' / 'sav_000' / 'sav_000001_manual.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), video_frame_count='x')))
    with pytest.raises(InputError, match='video_frame_count must be'):
        SAV(str(tmp_path), split='train')[0]
    path.with_name('sav_000001.mp4').unlink()
    with pytest.raises(MissingInputError, match='no file .*sav_000001.mp4'):
        SAV(str(tmp_path), split='train')[0]
