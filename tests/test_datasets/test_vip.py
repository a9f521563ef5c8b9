import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_data import make_vip, moving_shapes

from stt_mm.datasets import VIP
from stt_mm.registry import DATASETS
from stt_mm.utils import read_mask, write_mask
from stt_mm.utils.text import read_instance_categories


@pytest.fixture
def root(tmp_path):
    return make_vip(tmp_path)


def test_categories(root):
    dataset = DATASETS.build(dict(type='VIP', data_root=str(root)))
    sample = dataset[1]['data_samples']
    ids = moving_shapes(3, (64, 96), 3, seed=1)[1][0]
    assert np.array_equal(sample.given_masks[0], np.select([ids == 1, ids == 2, ids == 3], [2, 13, 2], 0))
    folder = root / 'Annotations' / 'Category_ids' / 'videos2'
    assert sample.mask_paths == [str(folder / f'{25 * t + 1:012d}.png') for t in range(3)]
    assert sample.frame_names == [f'{25 * t + 1:012d}' for t in range(3)]
    assert 'with_scores' not in sample
    assert 'categories' not in sample


def test_instances(root):
    sample = VIP(str(root), labels='instance')[1]['data_samples']
    assert np.array_equal(sample.given_masks[0], moving_shapes(3, (64, 96), 3, seed=1)[1][0])
    assert sample.categories == {1: 2, 2: 13, 3: 2}
    assert sample.with_scores is True
    folder = root / 'Annotations' / 'Instance_ids' / 'videos2'
    assert sample.text_paths == [str(folder / f'{25 * t + 1:012d}.txt') for t in range(3)]
    assert len(VIP(str(root), labels='instance', max_frames=2)[0]['data_samples'].text_paths) == 2


def test_category_masks_directly_below_annotations(root):
    expected = VIP(str(root))[0]['data_samples'].given_masks[0]
    for video in ('videos1', 'videos2'):
        shutil.move(root / 'Annotations' / 'Category_ids' / video, root / 'Annotations' / video)
    sample = VIP(str(root))[0]['data_samples']
    assert sample.mask_paths[0] == str(root / 'Annotations' / 'videos1' / '000000000001.png')
    assert np.array_equal(sample.given_masks[0], expected)


@pytest.mark.parametrize(
    ('labels', 'folder', 'suffix'),
    [
        ('category', 'Category_ids', '.png'),
        ('instance', 'Instance_ids', '.png'),
        ('instance', 'Instance_ids', '.txt'),
    ],
)
def test_missing_annotation(root, labels, folder, suffix):
    (root / 'Annotations' / folder / 'videos1' / f'000000000026{suffix}').unlink()
    total = 3 if labels == 'category' else 6
    with pytest.raises(FileNotFoundError, match=rf'videos1/000000000026\{suffix} \(1 of {total} are missing\)'):
        VIP(str(root), labels=labels)


def test_missing_list_and_folder(root):
    with pytest.raises(FileNotFoundError, match=r'no file .*lists/test_videos\.txt'):
        VIP(str(root), split='test')
    shutil.rmtree(root / 'Annotations' / 'Category_ids')
    with pytest.raises(FileNotFoundError, match='no folder .*Category_ids/videos1'):
        VIP(str(root))
    with pytest.raises(ValueError, match="labels must be one of 'category', 'instance', got 'human'"):
        VIP(str(root), labels='human')


def test_mask_that_does_not_fit(root):
    write_mask(root / 'Annotations' / 'Category_ids' / 'videos1' / '000000000001.png', np.ones((8, 9), np.uint8))
    with pytest.raises(ValueError, match='is 8x9 .* is 64x96'):
        VIP(str(root))[0]


def test_instance_without_a_line(root):
    path = root / 'Annotations' / 'Instance_ids' / 'videos1' / '000000000001.txt'
    path.write_text('1 2\n3 2\n')
    with pytest.raises(ValueError, match=r'000000000001\.txt has no line for instance 2'):
        VIP(str(root), labels='instance')[0]


@given(categories=st.dictionaries(st.integers(1, 255), st.integers(0, 19)), blanks=st.booleans())
def test_categories_round_trip(categories, blanks, tmp_path_factory):
    path = tmp_path_factory.mktemp('text') / '0.txt'
    lines = [f'{number} {category}' for number, category in categories.items()]
    path.write_text(('\n\n' if blanks else '\n').join(lines))
    assert read_instance_categories(path) == categories


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('1 2 0.5\n', "got '1 2 0.5'"),
        ('1\n', "got '1'"),
        ('-1 2\n', "got '-1 2'"),
        ('1 2\n1000000000 2\n', "got '10+ 2'"),
        ('1 1000000000\n', "got '1 10+'"),
        ('1 hat\n', "got '1 hat'"),
        ('1 2\n1 3\n', '2 lines for 1 instances'),
    ],
)
def test_broken_categories(tmp_path, text, match):
    (tmp_path / '0.txt').write_text(text)
    with pytest.raises(ValueError, match=match):
        read_instance_categories(tmp_path / '0.txt')
    with pytest.raises(FileNotFoundError, match=r'none\.txt'):
        read_instance_categories(tmp_path / 'none.txt')


def test_numbers_of_nine_digits_are_read(tmp_path):
    (tmp_path / '0.txt').write_text('999999999 123456789\n')
    assert read_instance_categories(tmp_path / '0.txt') == {999_999_999: 123_456_789}


@pytest.mark.parametrize('number', [1, 2])
def test_instances_are_named_from_the_first_on(root, number):
    path = root / 'Annotations' / 'Instance_ids' / 'videos1' / '000000000001.txt'
    path.write_text(''.join(f'{k} 2\n' for k in (1, 2, 3) if k != number))
    with pytest.raises(ValueError, match=f'no line for instance {number} of'):
        VIP(str(root), labels='instance')[0]


@pytest.mark.parametrize(('number', 'fine'), [(19, True), (20, False), (255, True)])
@pytest.mark.parametrize('max_frames', [2, None])
def test_parts_are_1_to_19_and_255_is_void(root, number, fine, max_frames):
    path = root / 'Annotations' / 'Category_ids' / 'videos1' / '000000000001.png'
    mask = read_mask(path)
    mask[:3, :3] = number
    write_mask(path, mask)
    if fine:
        given = VIP(str(root), max_frames=max_frames)[0]['data_samples'].given_masks[0]
        assert given[0, 0] == number % 255
    else:
        with pytest.raises(ValueError, match=rf'videos1: the first mask, .* holds \[{number}\], parts are 1 to 19'):
            VIP(str(root), max_frames=max_frames)


def test_the_folder_of_the_kind_of_labels_comes_first(root):
    shutil.copytree(root / 'Annotations' / 'Category_ids' / 'videos1', root / 'Annotations' / 'videos1')
    assert 'Category_ids' in VIP(str(root))[0]['data_samples'].mask_paths[0]
    for video in ('videos1', 'videos2'):
        shutil.rmtree(root / 'Annotations' / 'Instance_ids' / video)
        shutil.copytree(root / 'Annotations' / 'Category_ids' / video, root / 'Annotations' / video, dirs_exist_ok=True)
    with pytest.raises(FileNotFoundError, match='no folder .*Instance_ids/videos1'):
        VIP(str(root), labels='instance')


def test_a_video_without_frames_is_named(root):
    for path in (root / 'Images' / 'videos2').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'no frames in .*Images/videos2\.'):
        VIP(str(root))
