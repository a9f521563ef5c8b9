import json
import shutil

import numpy as np
import pytest
from mmengine.logging import MMLogger
from tiny_data import make_badja, texture, write_image

from stt_mm.datasets import BADJA, UnscorableVideos
from stt_mm.datasets.badja import JOINTS
from stt_mm.errors import InputError
from stt_mm.registry import DATASETS
from stt_mm.utils import write_mask


@pytest.mark.parametrize('animal', ['dog', 'dog-agility'])
def test_real_annotations_are_read_as_the_public_code_reads_them(animal, data, tmp_path):
    golden = np.load(data / 'points' / f'badja_real_{animal}.npz')
    entries = json.loads((data / 'points' / f'{animal}.json').read_text())
    (tmp_path / 'joint_annotations').mkdir()
    shutil.copy(data / 'points' / f'{animal}.json', tmp_path / 'joint_annotations')
    last = int(entries[-1]['image_path'][-9:-4])
    picture, mask = texture((27, 48), 0), np.ones((27, 48), np.uint8)
    for t in range(last + 4):
        write_image(tmp_path / 'DAVIS' / 'JPEGImages' / 'Full-Resolution' / animal / f'{t:05d}.jpg', picture)
    for entry in entries:
        write_mask(tmp_path / entry['segmentation_path'], mask)
    sample = BADJA(str(tmp_path))[0]['data_samples']
    first = int(golden['first_frame'])
    assert sample.frame_names == [f'{t:05d}' for t in range(first, last + 1)]
    assert len(sample.points) == len(golden['tracks'])
    annotated = golden['frames'] - golden['frames'][0]
    assert [t for t, path in enumerate(sample.mask_paths) if path] == annotated.tolist()
    scale = 512 / golden['original_shape'][1], 320 / golden['original_shape'][0]
    truths, visible = sample.points[annotated] * scale, golden['visible']
    np.testing.assert_array_equal(np.isnan(truths).any(2), ~visible)
    np.testing.assert_allclose(truths[visible], golden['ground_truth'][visible], rtol=0, atol=1e-4)
    np.testing.assert_allclose(sample.given_points[0] * scale, golden['ground_truth'][0], rtol=0, atol=1e-4)
    assert np.isnan(np.delete(sample.points, annotated, axis=0)).all()


@pytest.fixture
def root(tmp_path):
    return make_badja(tmp_path / 'BADJA', num_frames=5)


def annotations(root, animal='video0'):
    return root / 'joint_annotations' / f'{animal}.json'


def change(root, edit, animal='video0'):
    entries = json.loads(annotations(root, animal).read_text())
    changed = edit(entries)
    annotations(root, animal).write_text(json.dumps(entries if changed is None else changed))


def test_a_video_runs_from_its_first_to_its_last_annotated_frame(root, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        caplog.handler.setLevel('INFO')
        dataset = DATASETS.build(dict(type='BADJA', data_root=str(root)))
    finally:
        logger.removeHandler(caplog.handler)
    assert 'BADJA: tiger not in DAVIS, left out' in caplog.text
    assert [video['video_id'] for video in dataset.data_list] == ['video0', 'video1']
    sample = dataset[1]['data_samples']
    assert sample.frame_names == ['00001', '00002', '00003', '00004', '00005']
    masks = root / 'DAVIS' / 'Annotations' / 'Full-Resolution' / 'video1'
    assert sample.mask_paths == [str(masks / f'0000{t}.png') if t % 2 else None for t in range(1, 6)]
    joints = np.array(JOINTS)
    given = np.column_stack([2 * joints + 1, joints + 1])
    assert np.array_equal(sample.given_points[0], given)  # that of joint 10 too, which is not visible there
    assert sample.points.shape == (5, 20, 2)
    assert np.isnan(sample.points[[1, 3]]).all()
    assert np.isnan(sample.points[0]).any(1).tolist() == [joint == 10 for joint in JOINTS]
    for t in (2, 4):
        hidden = np.isnan(sample.points[t]).any(1)
        assert hidden.tolist() == [joint == 12 for joint in JOINTS]
        assert np.array_equal(sample.points[t, ~hidden], (given + t)[~hidden])


def test_davis_may_lie_elsewhere_and_paths_may_be_of_windows(root):
    shutil.move(root / 'DAVIS', root.parent / 'davis2017')
    with pytest.raises(FileNotFoundError, match=r'no folder .*BADJA/DAVIS\. Expected'):
        BADJA(str(root))

    def with_backslashes(entries):
        for entry in entries:
            entry['image_path'] = entry['image_path'].replace('/', '\\')

    change(root, with_backslashes)
    assert len(BADJA(str(root), davis_root=str(root.parent / 'davis2017'))) == 2


def test_frames_are_cut_and_a_video_needs_a_later_joint(root):
    sample = BADJA(str(root), max_frames=3)[0]['data_samples']
    assert len(sample.points) == len(sample.mask_paths) == len(sample.frame_names) == 3
    with pytest.raises(UnscorableVideos, match='no joint is visible after the first annotated frame among the first 2'):
        BADJA(str(root), max_frames=2)
    with pytest.raises(UnscorableVideos, match='1, whose labels are given'):
        BADJA(str(root), max_frames=1)

    def hide(entries):
        for entry in entries[1:]:
            entry['visibility'] = [False] * 37

    change(root, hide)
    with pytest.raises(UnscorableVideos, match='video0: no joint is visible after the first annotated frame'):
        BADJA(str(root))


def test_what_is_missing_is_named(root):
    frames = root / 'DAVIS' / 'JPEGImages' / 'Full-Resolution' / 'video0'
    masks = root / 'DAVIS' / 'Annotations' / 'Full-Resolution' / 'video0'
    (masks / '00003.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'no file .*video0/00003\.png'):
        BADJA(str(root))
    (frames / '00003.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'annotates 00003\.jpg, which .*video0 has not'):
        BADJA(str(root))
    shutil.rmtree(frames)
    with pytest.raises(FileNotFoundError, match='no folder .*JPEGImages/Full-Resolution/video0'):
        BADJA(str(root))
    shutil.rmtree(root / 'joint_annotations')
    with pytest.raises(FileNotFoundError, match='no folder .*joint_annotations'):
        BADJA(str(root))
    (root / 'joint_annotations').mkdir()
    with pytest.raises(InputError, match='BADJA: no video in'):
        BADJA(str(root))


def entry_with(**changes):
    return lambda entries: entries[1].update(changes)


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda entries: {}, 'must be a list of annotated frames'),
        (lambda entries: [], 'must be a list of annotated frames'),
        (lambda entries: [*entries, 5], 'frame 3: expected image_path'),
        (lambda entries: entries[1].pop('joints') and None, 'frame 1: expected image_path'),
        (entry_with(joints=[[1, 2]] * 36), 'frame 1: .*37 joints'),
        (entry_with(joints=[[1, 2, 3]] * 37), 'frame 1: .*37 joints'),
        (entry_with(joints=[[1, 'a']] * 37), 'frame 1: .*37 joints'),
        (entry_with(joints=[[1, True]] * 37), 'frame 1: .*37 joints'),
        (entry_with(joints=[[1, float('nan')]] * 37), 'frame 1: .*37 joints'),
        (entry_with(joints=[[1, 10**400]] * 37), 'frame 1: .*37 joints'),
        (entry_with(visibility=[True] * 36), 'frame 1: .*visibility'),
        (entry_with(visibility=['yes'] * 37), 'frame 1: .*visibility'),
        (entry_with(image_path=5), 'frame 1: expected image_path'),
        (entry_with(image_path='DAVIS/JPEGImages/../00003.jpg'), 'holds the name'),
        (entry_with(image_path='00003.jpg'), 'Expected DAVIS/JPEGImages/Full-Resolution'),
        (entry_with(image_path='DAVIS/JPEGImages/Full-Resolution/video1/00003.jpg'), 'Expected one video'),
        (entry_with(image_path='DAVIS/JPEGImages/Full-Resolution/video0/00001.jpg'), 'in order, each once'),
        (lambda entries: entries[::-1], 'in order, each once'),
    ],
)
def test_annotations_of_another_form(edit, message, root):
    change(root, edit)
    with pytest.raises(InputError, match=message) as caught:
        BADJA(str(root))
    assert 'video0.json' in str(caught.value)
