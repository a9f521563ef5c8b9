import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from scipy.io import savemat
from tiny_data import make_jhmdb, texture, write_image

from stt_mm.datasets import JHMDB
from stt_mm.engine import load_config
from stt_mm.registry import DATASETS
from stt_mm.utils.mat import read_joint_positions

CONFIGS = Path(__file__).parents[2] / 'configs' / 'eval'


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def root(tmp_path):
    return make_jhmdb(tmp_path / 'JHMDB')


def ids_of(dataset):
    return [dataset.get_data_info(index)['video_id'] for index in range(len(dataset))]


def test_joints_count_from_zero(root):
    sample = DATASETS.build(dict(type='JHMDB', data_root=str(root)))[1]['data_samples']
    assert sample.video_id == 'walk/clip1'
    assert sample.frame_names == ['00001', '00002', '00003', '00004']
    assert sample.original_size == (60, 80)
    assert sample.points.shape == (4, 15, 2)
    assert sample.points.dtype == sample.given_points[0].dtype == np.float32
    j, t = 7, 3
    assert sample.points[t, j].tolist() == [3 * j + t + 2, 2 * j + t + 1]
    assert np.array_equal(sample.given_points[0], sample.points[0])


def test_official_splits_give_the_test_clips(root):
    assert ids_of(JHMDB(str(root))) == ['walk/clip0', 'walk/clip1']
    (root / 'splits' / 'walk_test_split3.txt').write_text('clip2.avi 2\nclip0.avi 1\nclip1.avi 0\n')
    assert ids_of(JHMDB(str(root), split=3)) == ['walk/clip2']
    with pytest.raises(FileNotFoundError, match=r'splits/<action>_test_split2\.txt'):
        JHMDB(str(root), split=2)
    (root / 'splits' / 'walk_test_split2.txt').write_text('clip2.avi yes\n')
    with pytest.raises(ValueError, match=r'split2\.txt: .*got .clip2\.avi yes'):
        JHMDB(str(root), split=2)


@pytest.mark.parametrize(
    'line',
    [
        'JHMDB/joint_positions/walk/clip2/joint_positions.mat JHMDB/Rename_Images/walk/clip2',
        'Rename_Images/walk/clip2 joint_positions/walk/clip2/joint_positions.mat',
        '/old/place/JHMDB/Rename_Images/walk/clip2/ /old/place/JHMDB/joint_positions/walk/clip2/joint_positions.mat',
        'walk/clip2',
        'clip2',
    ],
)
@pytest.mark.parametrize('data_root', ['itself', 'parent'])
def test_forms_of_lists_and_roots(root, line, data_root):
    (root.parent / 'list.txt').write_text(f'{line}\n\n')
    folder = root if data_root == 'itself' else root.parent
    assert ids_of(JHMDB(str(folder), video_list='list.txt')) == ['walk/clip2']


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('\n', 'is empty'),
        ('Rename_Images/walk/clip1 joint_positions/walk/clip2/joint_positions.mat', 'of one clip'),
        ('a/b/c d/e/f', 'of one clip'),
        ('Rename_Images/walk/clip2', 'of one clip'),
        ('clip2 walk/clip2', 'of one clip'),
        ('Rename_Images/walk/clip2 joint_positions/walk/clip2/joint_positions.mat x', 'of one clip'),
        ('clip9', r'clip clip9 is in 0 actions'),
    ],
)
def test_broken_lists(root, text, match):
    (root / 'list.txt').write_text(text)
    with pytest.raises(ValueError, match=match):
        JHMDB(str(root), video_list='list.txt')


def test_more_images_than_joints(root, log):
    for t in (5, 6):
        write_image(root / 'Rename_Images' / 'walk' / 'clip0' / f'{t:05d}.png', texture((60, 80), t))
    dataset = JHMDB(str(root))
    assert 'walk/clip0 has 6 images and joints of 4 frames' in log.text
    assert dataset.num_frames(0) == len(dataset[0]['inputs']) == 4


def test_other_joints_and_invisible_ones(root):
    positions = np.full((2, 26, 4), 5.0)
    positions[:, 3, 0] = np.nan
    savemat(root / 'joint_positions' / 'walk' / 'clip0' / 'joint_positions.mat', {'pos_img': positions})
    sample = JHMDB(str(root), indices=1)[0]['data_samples']
    assert sample.given_points[0].shape == (26, 2)
    assert np.isnan(sample.given_points[0][3]).all()
    assert np.isnan(sample.points).sum() == 2


def test_what_is_missing_is_named(root):
    (root / 'Rename_Images' / 'walk' / 'clip1' / '00004.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'clip1 holds 3 images, .* joints of 4 frames'):
        JHMDB(str(root))
    shutil.rmtree(root / 'Rename_Images' / 'walk' / 'clip1')
    with pytest.raises(FileNotFoundError, match=r'no folder .*Rename_Images/walk/clip1'):
        JHMDB(str(root))
    (root / 'joint_positions' / 'walk' / 'clip0' / 'joint_positions.mat').unlink()
    with pytest.raises(FileNotFoundError, match=r'not found: .*clip0/joint_positions\.mat'):
        JHMDB(str(root))
    with pytest.raises(FileNotFoundError, match=r'list not found: .*JHMDB/none\.txt or .*none\.txt'):
        JHMDB(str(root), video_list='none.txt')
    shutil.rmtree(root / 'joint_positions')
    with pytest.raises(FileNotFoundError, match=r'no folder .*joint_positions\. Expected'):
        JHMDB(str(root))
    with pytest.raises(ValueError, match='split must be one of 1, 2, 3'):
        JHMDB(str(root), split=4)


def test_positions_of_one_frame(tmp_path):
    savemat(tmp_path / 'a.mat', {'pos_img': np.array([[1.0, 2.0], [3.0, 4.5]])})
    assert read_joint_positions(tmp_path / 'a.mat').tolist() == [[[0, 2], [1, 3.5]]]


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        (dict(other=np.zeros(3)), 'holds other, but no pos_img'),
        (dict(pos_img=np.zeros((3, 15, 4))), r'got \[3, 15, 4\]'),
        (dict(pos_img=np.zeros((2, 15, 0))), r'got \[2, 15, 0\]'),
        (b'no MATLAB file', 'is no MATLAB file of level 5, it begins with .*no MATLAB file'),
        (b'', 'is no MATLAB file'),
    ],
)
def test_broken_positions(tmp_path, content, match):
    path = tmp_path / 'a.mat'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    with pytest.raises(ValueError, match=match):
        read_joint_positions(path)


def test_positions_cut_off(root):
    path = root / 'joint_positions' / 'walk' / 'clip0' / 'joint_positions.mat'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r'clip0/joint_positions\.mat cannot be read'):
        JHMDB(str(root))


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('jhmdb_*.py')), ids=lambda path: path.stem)
def test_all_configs_are_of_the_first_split(path):
    assert load_config(path).test_dataloader.dataset.split == 1


def test_clips_that_have_all_their_joints_are_not_told(root, log):
    write_image(root / 'Rename_Images' / 'walk' / 'clip0' / '00005.png', texture((60, 80), 5))
    JHMDB(str(root))
    assert log.text.count('the rest is left out') == 1


def test_a_clip_of_two_actions_is_not_guessed(root):
    shutil.copytree(root / 'joint_positions' / 'walk' / 'clip2', root / 'joint_positions' / 'jump' / 'clip2')
    (root / 'list.txt').write_text('clip2\n')
    with pytest.raises(ValueError, match=r'list\.txt: clip clip2 is in 2 actions'):
        JHMDB(str(root), video_list='list.txt')


def test_the_root_itself_comes_first(root):
    """Another copy below it is not looked at."""
    for folder in ('joint_positions', 'Rename_Images', 'splits'):
        shutil.copytree(root / folder, root / 'JHMDB' / folder)
    (root / 'JHMDB' / 'splits' / 'walk_test_split1.txt').write_text('clip2.avi 2\n')
    assert ids_of(JHMDB(str(root))) == ['walk/clip0', 'walk/clip1']


@pytest.mark.parametrize(
    ('line', 'fine'), [('clip2.avi 2', True), ('clip2.avi', False), ('clip2.avi 2 3', False), ('clip2.avi 3', False)]
)
def test_lines_of_the_splits_have_two_words(root, line, fine):
    (root / 'splits' / 'walk_test_split2.txt').write_text(f'{line}\n')
    if fine:
        assert ids_of(JHMDB(str(root), split=2)) == ['walk/clip2']
    else:
        with pytest.raises(ValueError, match=f"expected lines .* got '{line}'"):
            JHMDB(str(root), split=2)
