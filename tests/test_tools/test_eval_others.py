"""Masks in other forms, long videos and points of any program get the scores of a run."""

import json
import shutil

import numpy as np
import pytest
from test_tools.test_eval_folder import evaluate, results, shifted
from tiny_data import make_badja, make_davis, make_object_videos, make_sav, make_tap_vid

from stt_mm.datasets import BADJA, LVOS, MOSE, SAV, TAPVid
from stt_mm.evaluation.metrics import BADJAMetric, ObjectVideoMetric, TAPVidMetric
from stt_mm.utils import list_images, read_mask, write_mask
from stt_mm.utils.mask_file import MaskFileWriter


def as_json(folder, target):
    """The masks of each video as a COCO file."""
    for video in sorted(folder.iterdir()):
        with MaskFileWriter(target / f'{video.name}.json') as file:
            for path in list_images(video):
                file.add(path, read_mask(path))


def test_a_json_file_for_each_video_is_as_good_as_its_masks(tmp_path):
    root = make_davis(tmp_path / 'davis', num_videos=2)
    shifted(root / 'Annotations' / '480p', tmp_path / 'pred')
    as_json(tmp_path / 'pred', tmp_path / 'json')
    for pred in ('pred', 'json'):
        done = evaluate(tmp_path / pred, root, '--task', 'davis17', '--out', tmp_path / f'{pred}_out')
        assert done.returncode == 0, done.stderr
    assert results(tmp_path / 'json_out', 'davis') == results(tmp_path / 'pred_out', 'davis')
    path = tmp_path / 'json' / 'video0.json'
    content = json.loads(path.read_text())
    content['images'].pop(2)
    content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] != 3]
    content['annotations'][-1]['segmentation']['counts'] = '0'
    path.write_text(json.dumps(content))
    (tmp_path / 'json' / 'other.json').write_text('{}')
    (tmp_path / 'json' / 'video1.json').write_text('{}')
    done = evaluate(tmp_path / 'json', root, '--task', 'davis17')
    assert done.returncode == 1
    for line in (
        f'{tmp_path}/json/video0, frame 00002: the mask is missing',
        f'{tmp_path}/json/video0, frame 00004: {path}, annotation',
        f'{tmp_path}/json/video1.json holds no masks that are known',
        f'{tmp_path}/json/other.json: extra file',
        'error: 4 faults in',
    ):
        assert line in done.stdout + done.stderr
    done = evaluate(tmp_path / 'json', root, '--task', 'davis17', '--allow-faulty')
    assert done.returncode == 0, done.stderr


def expected_objects(dataset, metric, pred):
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        paths = [pred / sample['video_id'] / f'{name}.png' for name in sample['frame_names']]
        masks = np.stack([read_mask(path) if path.is_file() else np.zeros(sample['original_size']) for path in paths])
        metric.process(None, [dict(sample, pred_masks=masks, protocol=dict(name='masks', version=1))])
    return metric.evaluate(len(dataset))


def test_long_videos(tmp_path):
    lvos = make_object_videos(tmp_path / 'lvos', num_frames=9, births=(0, 3))
    make_object_videos(tmp_path / 'lvos', split='train', num_frames=9, every=2, births=(0, 3))
    (tmp_path / 'unseen.txt').write_text('video1\n')
    for split in ('valid', 'train'):
        shifted(lvos / split / 'Annotations', tmp_path / split)
    options = ['--parts', 3, '--unseen-videos', tmp_path / 'unseen.txt']
    done = evaluate(tmp_path / 'valid', lvos, '--task', 'lvos', '--out', tmp_path / 'a', *options)
    assert done.returncode == 0, done.stderr
    metric = ObjectVideoMetric(given_frame=True, last_frame=True, parts=3, unseen_videos=['video1'])
    found = results(tmp_path / 'a', 'objects')
    assert found['global'] == expected_objects(LVOS(str(lvos)), metric, tmp_path / 'valid')
    assert len(found['over_time']) == 3
    # Frames without a truth may have masks or not; a plain folder has the same objects.
    expected = expected_objects(MOSE(str(lvos), split='train'), ObjectVideoMetric(), tmp_path / 'train')
    for truth, out in ((lvos, 'b'), (lvos / 'train' / 'Annotations', 'c')):
        done = evaluate(tmp_path / 'train', truth, '--task', 'mose', '--out', tmp_path / out)
        assert done.returncode == 0, done.stderr
        assert results(tmp_path / out, 'objects')['global'] == expected
    write_mask(tmp_path / 'train' / 'video0' / '00000006.png', np.ones((60, 80), np.uint8))
    (tmp_path / 'train' / 'video0' / '00000011.png').unlink()
    done = evaluate(tmp_path / 'train', lvos, '--task', 'mose')
    assert 'error: 1 faults' in done.stderr
    assert 'video0/00000011.png: the mask is missing' in done.stdout


def test_overlapping_objects_in_the_forms_of_sav(tmp_path):
    root = make_sav(tmp_path / 'sav')
    truth = root / 'sav_val' / 'Annotations_6fps'
    shutil.copytree(truth, tmp_path / 'pred')
    make_sav(tmp_path / 'other', train=True)
    (tmp_path / 'json').mkdir()
    for path in (tmp_path / 'other').rglob('*.json'):
        shutil.copy(path, tmp_path / 'json' / f'{path.name.removesuffix("_manual.json")}.json')
    sample = SAV(str(root))[0]['data_samples']
    for index, pred, gt in ((0, 'pred', root), (1, 'json', root), (2, 'pred', truth)):
        done = evaluate(tmp_path / pred, gt, '--task', 'sav', '--out', tmp_path / str(index))
        assert done.returncode == 0, done.stderr
        found = results(tmp_path / str(index), 'objects')
        assert found['global']['J&F-Mean'] == 1
        assert found['num_objects'] == 4
    # One map of ids cannot hold what overlaps.
    for video in ('sav_000000', 'sav_000001'):
        for t, frame in enumerate(sample.truth):
            if frame is not None:
                write_mask(tmp_path / 'flat' / video / f'{t:05d}.png', frame.ids())
    done = evaluate(tmp_path / 'flat', root, '--task', 'sav', '--out', tmp_path / 'flat_out')
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / 'flat_out', 'objects')['global']['J&F-Mean'] < 1
    (tmp_path / 'pred' / 'sav_000000' / '001' / '00008.png').unlink()
    (tmp_path / 'pred' / 'sav_000000' / '000' / '00008.png').unlink()
    done = evaluate(tmp_path / 'pred', root, '--task', 'sav')
    assert f'{tmp_path}/pred/sav_000000, frame 00008: the mask is missing' in done.stdout


def off(sample, seed=0):
    """Predictions some pixels off, a part of them hidden or lost, as a model returns them."""
    rng = np.random.default_rng(seed)
    truth = np.nan_to_num(np.asarray(sample['points'], float), nan=5.0)
    points = np.abs(truth + rng.normal(0, 3, truth.shape))
    points[rng.random(points.shape[:2]) < 0.1] = -1
    return points, rng.random(points.shape[:2]) < 0.2


@pytest.mark.parametrize('mode', ['first', 'strided'])
@pytest.mark.parametrize('folders', [False, True])
def test_points_of_tap_vid(mode, folders, tmp_path):
    """As --dump-points writes them, in both of its files, and as others do: rows of the public code's order."""
    root = make_tap_vid(tmp_path / 'data', folders=folders)
    dataset, run = TAPVid(str(root), query_mode=mode), TAPVidMetric(dump_points=str(tmp_path / 'dump'))
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        points, occluded = off(sample, index)
        run.process(None, [dict(sample, pred_points=points, pred_occluded=occluded, protocol={})])
        rows = np.argsort(sample['query_order'])
        (tmp_path / 'npz').mkdir(exist_ok=True)
        parts = np.where(points < 0, np.nan, (points + 0.5) / 256)
        hidden = occluded | np.isnan(parts).any(axis=2)
        path = tmp_path / 'npz' / f'{sample["video_id"]}.npz'
        np.savez(path, points=parts[:, rows].swapaxes(0, 1), occluded=hidden[:, rows].T)
    expected = run.evaluate(2)
    assert 0.1 < expected['average_jaccard'] < 0.9
    shutil.copytree(tmp_path / 'dump', tmp_path / 'text')
    for path in (tmp_path / 'text').rglob('*.npz'):
        path.unlink()
    for pred, accuracy in (('dump', 1e-12), ('npz', 1e-12), ('text', 0.02)):
        out = tmp_path / f'{pred}_out'
        done = evaluate(tmp_path / pred, root, '--task', 'tapvid', '--query-mode', mode, '--out', out)
        assert done.returncode == 0, done.stderr
        assert results(out, 'tap_vid')['global'] == pytest.approx(expected, abs=accuracy)
    shutil.rmtree(tmp_path / 'dump' / 'video1')
    np.savez(tmp_path / 'dump' / 'video0' / 'points.npz', points=np.zeros((9, 6, 2)), occluded=np.zeros((9, 6)))
    done = evaluate(tmp_path / 'dump', root, '--task', 'tapvid', '--query-mode', mode)
    assert done.returncode == 1
    assert 'video0/points.npz has 9 points in 6 frames, but' in done.stdout
    assert 'video1: the video is missing' in done.stdout
    done = evaluate(tmp_path / 'dump', root, '--task', 'tapvid', '--query-mode', mode, '--allow-faulty')
    assert done.returncode == 0, done.stderr


def test_a_point_beyond_the_left_edge_is_not_lost(tmp_path):
    root = make_tap_vid(tmp_path / 'data', num_videos=1, folders=True)
    path = root / 'video0' / 'points.npz'
    with np.load(path) as arrays:
        occluded = arrays['occluded']
        points = arrays['points'] * [0, 1]
    np.savez(path, points=points, occluded=occluded)
    (tmp_path / 'pred').mkdir()
    np.savez(tmp_path / 'pred' / 'video0.npz', points=points[:3] - [0.003, 0], occluded=occluded[:3])
    done = evaluate(tmp_path / 'pred', root, '--task', 'tapvid', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / 'out', 'tap_vid')['global']['pts_within_1'] == 1


def test_joints_of_badja(tmp_path):
    root = make_badja(tmp_path / 'badja')
    dataset, run = BADJA(str(root)), BADJAMetric(dump_points=str(tmp_path / 'dump'))
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        points, _ = off(sample, index)
        run.process(None, [dict(sample, pred_points=points.round(2), protocol={})])
    expected = run.evaluate(2)
    assert 5 < expected['PCK@0.2'] < 100
    done = evaluate(tmp_path / 'dump', root, '--task', 'badja', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / 'out', 'badja')['global'] == expected
    done = evaluate(tmp_path / 'dump', root, '--task', 'badja', '--davis-root', tmp_path / 'none')
    assert (done.returncode, 'none' in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--task', 'davis17', '--parts', '3'], '--parts is for --task mose, lvos, sav'),
        (['--task', 'mose', '--query-mode', 'first'], '--query-mode is for --task tapvid'),
        (['--task', 'tapvid', '--davis-root', 'x'], '--davis-root is for --task badja'),
        (['--task', 'sav', '--unseen-videos', 'x'], '--unseen-videos is for --task lvos'),
        (['--task', 'vip', '--video-list', 'x'], '--video-list is for --task ytv, mose, lvos, sav'),
        (['--task', 'vip', '--seen-categories', 'x'], '--seen-categories is for --task ytv'),
        (['--task', 'tapvid', '--split', 'val'], '--split is for tasks with masks'),
        (['--task', 'badja', '--split', 'val'], '--split is for tasks with masks'),
    ],
)
def test_options_belong_to_their_tasks(options, message, tmp_path):
    done = evaluate(tmp_path, tmp_path, *options)
    assert (done.returncode, message in done.stderr) == (2, True)
