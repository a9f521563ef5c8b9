import shutil

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from PIL import Image
from tiny_data import make_davis, moving_shapes

from stt_mm.datasets import DAVIS
from stt_mm.datasets.davis import read_davis_list
from stt_mm.registry import DATASETS
from stt_mm.utils import FrameSequence, read_mask, write_mask


@pytest.fixture
def root(tmp_path):
    return make_davis(tmp_path)


def mask_dir(root, video):
    return root / 'Annotations' / '480p' / video


def test_one_item_is_one_video(root):
    dataset = DATASETS.build(dict(type='DAVIS', data_root=str(root)))
    assert len(dataset) == 2
    item = dataset[1]
    frames, sample = item['inputs'], item['data_samples']
    assert isinstance(frames, FrameSequence)
    assert (len(frames), frames[0].shape) == (5, (64, 96, 3))
    assert (sample.video_id, sample.original_size, sample.single_object) == ('video1', (64, 96), False)
    assert sample.frame_names == [f'{t:05d}' for t in range(5)]
    assert sample.mask_paths == [str(mask_dir(root, 'video1') / f'{t:05d}.png') for t in range(5)]
    assert list(sample.given_masks) == [0]
    assert np.array_equal(sample.given_masks[0], moving_shapes(5, (64, 96), 2, seed=1)[1][0])


def test_few_frames(root):
    sample = DAVIS(str(root), max_frames=3)[0]
    assert len(sample['inputs']) == len(sample['data_samples'].mask_paths) == 3


def test_collation_leaves_videos_whole(root):
    batch = pseudo_collate([DAVIS(str(root))[0]])
    assert isinstance(batch['inputs'][0], FrameSequence)
    assert batch['data_samples'][0].video_id == 'video0'


def test_void_of_2017_is_background(root):
    write_mask(mask_dir(root, 'video0') / '00000.png', np.where(np.eye(64, 96) > 0, 255, 1).astype(np.uint8))
    assert np.array_equal(DAVIS(str(root))[0]['data_samples'].given_masks[0], 1 - np.eye(64, 96))


def test_grey_masks_of_other_makers_show_ids_without_a_guess(root, caplog):
    path = mask_dir(root, 'video0') / '00000.png'
    mask = np.zeros((64, 96), np.uint8)
    mask[10:40, 10:40] = 127
    rim = mask.copy()
    rim[8:42, 8:42] = np.where(mask[8:42, 8:42], 127, 255)
    for second, message in ((255, 'is void, but its 900 pixels'), (None, 'smoothed edges')):
        wrong = cv2.GaussianBlur(mask, (0, 0), 2) if second is None else mask.copy()
        wrong[10:40, 50:80] = second or 0
        Image.fromarray(wrong).save(path)
        with pytest.raises(ValueError, match=rf'00000\.png.*{message}'):
            DAVIS(str(root))[0]
    Image.fromarray(rim).save(path)
    assert np.array_equal(DAVIS(str(root))[0]['data_samples'].given_masks[0], mask)
    assert '255 beside other ids is void: 256 pixels' in caplog.text


@pytest.mark.parametrize('form', ['names', 'paths'])
def test_2016_has_one_object_and_two_forms_of_list(root, form):
    if form == 'names':
        path, text = root / 'ImageSets' / '2016' / 'val.txt', 'video1\n'
    else:
        path = root / 'ImageSets' / '480p' / 'val.txt'
        text = ''.join(f'/JPEGImages/480p/video1/0000{t}.jpg /Annotations/480p/video1/0000{t}.png \n' for t in range(5))
    path.parent.mkdir()
    path.write_text(text)
    first = mask_dir(root, 'video1') / '00000.png'
    ids = read_mask(first)
    write_mask(first, np.where(ids == 1, 255, ids))
    dataset = DAVIS(str(root), year=2016)
    sample = dataset[0]['data_samples']
    assert (len(dataset), sample.video_id, sample.single_object) == (1, 'video1', True)
    assert np.array_equal(sample.given_masks[0], ids > 0)


def test_split_that_hides_its_masks(root):
    write_mask(mask_dir(root, 'video1') / '.00001.png', np.zeros((64, 96), np.uint8))
    for t in range(1, 5):
        (mask_dir(root, 'video1') / f'{t:05d}.png').unlink()
    sample = DAVIS(str(root))[1]['data_samples']
    assert sample.mask_paths == [str(mask_dir(root, 'video1') / '00000.png'), None, None, None, None]


@pytest.mark.parametrize('frame', ['00000', '00003'])
def test_missing_mask(root, frame):
    (mask_dir(root, 'video1') / f'{frame}.png').unlink()
    with pytest.raises(FileNotFoundError, match=rf'mask not found: .*video1/{frame}\.png \(1 of 5'):
        DAVIS(str(root))


def test_mask_of_another_size(root):
    write_mask(mask_dir(root, 'video0') / '00000.png', np.ones((32, 48), np.uint8))
    with pytest.raises(ValueError, match=r'00000\.png is 32x48 .* frame .*00000\.jpg is 64x96'):
        DAVIS(str(root))[0]


def test_first_mask_without_object(root):
    write_mask(mask_dir(root, 'video0') / '00000.png', np.zeros((64, 96), np.uint8))
    with pytest.raises(ValueError, match=r'video0: the first mask, .*00000\.png, shows no object.*skip=\[video0\]'):
        DAVIS(str(root))


def test_a_first_mask_of_void_alone(root):
    """As people make one for one object; DAVIS-2016 takes it for that."""
    mask = np.zeros((64, 96), np.uint8)
    mask[8:40, 8:40] = 255
    write_mask(mask_dir(root, 'video0') / '00000.png', mask)
    with pytest.raises(ValueError, match=r'shows no object, as 255 is void where objects have numbers\. Write the obj'):
        DAVIS(str(root))


def test_missing_list_folder_and_root(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'list not found: .*ImageSets/2017/train\.txt\. Expected'):
        DAVIS(str(root), split='train')
    with pytest.raises(FileNotFoundError, match=r'2016/val\.txt or .*480p/val\.txt'):
        DAVIS(str(root), year=2016)
    with pytest.raises(FileNotFoundError, match='no folder .*JPEGImages/Full-Resolution/video0'):
        DAVIS(str(root), resolution='Full-Resolution')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        DAVIS(str(tmp_path / 'nowhere'))
    (root / 'ImageSets' / '2017' / 'val.txt').write_text('\n')
    with pytest.raises(ValueError, match=r'val\.txt is empty'):
        DAVIS(str(root))


@pytest.mark.parametrize('kwargs', [dict(year=2018), dict(max_frames=0), dict(skip='video0')])
def test_arguments_out_of_range(root, kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        DAVIS(str(root), **kwargs)


@pytest.mark.parametrize(
    'line',
    [
        '\\JPEGImages\\480p\\video0\\00000.jpg \\Annotations\\480p\\video0\\00000.png',
        'JPEGImages/480p/video0/00000.jpg',
        'video0\\',
        'video0/',
        'JPEGImages/480p/video0',
        './video0',
    ],
)
def test_lines_that_are_paths(root, line):
    listing = root / 'ImageSets' / '2017' / 'val.txt'
    listing.write_text(f'{line}\nvideo0 5\n', newline='\r\n')
    assert [video['video_id'] for video in DAVIS(str(root)).data_list] == ['video0']


@pytest.fixture
def sparse(root):
    """Masks of frames 0, 2, 3 and 4, and no folder of a resolution."""
    for kind in ('JPEGImages', 'Annotations'):
        for video in (root / kind / '480p').iterdir():
            video.rename(root / kind / video.name)
        (root / kind / '480p').rmdir()
    for video in (root / 'Annotations').iterdir():
        (video / '00001.png').unlink()
    return root


def test_sparse_annotations_are_read_only_if_asked_for(sparse):
    with pytest.raises(FileNotFoundError, match=r"JPEGImages/480p; the videos are in .*directly.*resolution=''"):
        DAVIS(str(sparse))
    (sparse / 'ImageSets' / '2017' / 'val.txt').write_text('video1\n')
    with pytest.raises(FileNotFoundError, match='directly'):
        DAVIS(str(sparse))
    with pytest.raises(FileNotFoundError, match=r"00001\.png \(1 of 5 are missing\).*annotations='sparse'"):
        DAVIS(str(sparse), resolution='')
    dataset = DAVIS(str(sparse), resolution='', annotations='sparse')
    sample = dataset[0]['data_samples']
    assert [path and path[-9:] for path in sample.mask_paths] == [
        '00000.png',
        None,
        '00002.png',
        '00003.png',
        '00004.png',
    ]
    with pytest.raises(ValueError, match=r'first 3 \(max_frames\): 2, of which the first and the last do not count'):
        DAVIS(str(sparse), resolution='', annotations='sparse', max_frames=3)


@pytest.mark.parametrize(
    ('old', 'new', 'match'),
    [
        ('00000', '00001', r'no mask for frame .*00000\.jpg'),
        ('00002', '2', r'no frame for mask 2\.png'),
    ],
)
def test_sparse_masks_must_be_named_like_their_frames(sparse, old, new, match):
    folder = sparse / 'Annotations' / 'video1'
    (folder / f'{old}.png').rename(folder / f'{new}.png')
    with pytest.raises(FileNotFoundError, match=match):
        DAVIS(str(sparse), resolution='', annotations='sparse')


@pytest.mark.parametrize(
    ('line', 'video'),
    [
        ('bear', 'bear'),
        ('bear.v2', 'bear.v2'),
        ('a/bear/00000.jpg', 'bear'),
        ('a/bear', 'bear'),
        ('/bear/0.png 1', 'bear'),
        ('//a//bear.v2//0.png', 'bear.v2'),
    ],
)
def test_a_line_names_a_video_or_one_of_its_frames(tmp_path, line, video):
    (tmp_path / 'val.txt').write_text(f'{line}\n/\ndog\n{line}\n')
    assert read_davis_list(tmp_path / 'val.txt') == [video, 'dog']


def test_frames_of_another_resolution_are_no_matter(root):
    (root / 'JPEGImages' / 'video0').mkdir()
    assert len(DAVIS(str(root))) == 2


@pytest.mark.parametrize('kept', [[0, 3], [3], [0, 1, 2, 3], []])
def test_a_download_that_is_not_complete_is_no_test_dev(root, kept):
    for t in set(range(5)) - set(kept):
        (mask_dir(root, 'video1') / f'{t:05d}.png').unlink()
    first = min(set(range(5)) - set(kept))
    with pytest.raises(FileNotFoundError, match=rf'{first:05d}\.png \({5 - len(kept)} of 5 are missing'):
        DAVIS(str(root))


@pytest.mark.parametrize('annotations', ['full', 'sparse'])
def test_other_files_among_the_masks_are_no_matter(root, annotations):
    (mask_dir(root, 'video0') / 'notes.txt').write_text('mine')
    for t in range(1, 5):
        (mask_dir(root, 'video1') / f'{t:05d}.png').unlink()
    (mask_dir(root, 'video1') / 'notes.txt').write_text('mine')
    skip = ['video1'] if annotations == 'sparse' else []
    assert len(DAVIS(str(root), annotations=annotations, skip=skip)) == 2 - len(skip)


def test_masks_of_2016_may_be_of_any_value_but_0(root):
    (root / 'ImageSets' / '2016').mkdir()
    (root / 'ImageSets' / '2016' / 'val.txt').write_text('video0\n')
    mask = np.zeros((64, 96), np.uint8)
    mask[10:40, 10:40] = 255
    soft = cv2.GaussianBlur(mask, (0, 0), 2)
    Image.fromarray(soft).save(mask_dir(root, 'video0') / '00000.png')
    assert np.array_equal(DAVIS(str(root), year=2016)[0]['data_samples'].given_masks[0], soft > 0)


def test_videos_without_frames_are_named(root):
    for path in (root / 'JPEGImages' / '480p' / 'video1').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'no frames in .*480p/video1\.'):
        DAVIS(str(root))
    with pytest.raises(ValueError, match="annotations must be one of 'full', 'sparse', got 'few'"):
        DAVIS(str(root), annotations='few')


def test_videos_without_a_folder_of_a_resolution_are_told_by_their_frames(sparse):
    shutil.rmtree(sparse / 'Annotations')
    with pytest.raises(FileNotFoundError, match='the videos are in .*JPEGImages directly'):
        DAVIS(str(sparse))
