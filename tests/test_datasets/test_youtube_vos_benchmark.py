import json

import numpy as np
import pytest
from mmengine.logging import MMLogger
from tiny_data import make_youtube_vos_valid, moving_shapes, write_image

from stt_mm.datasets import YouTubeVOSBenchmark
from stt_mm.datasets.youtube_vos_benchmark import read_meta
from stt_mm.registry import DATASETS
from stt_mm.utils import read_mask, write_mask

SIZE = (64, 96)


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def root(tmp_path):
    return make_youtube_vos_valid(tmp_path, births=(0, 1, 1))


def masks_of(video):
    return moving_shapes(23, SIZE, 3, seed=video)[1]


def edit(root, change, split='valid'):
    path = root / split / 'meta.json'
    meta = json.loads(path.read_text())
    change(meta['videos'])
    path.write_text(json.dumps(meta))


def test_objects_are_given_where_they_are_born(root):
    dataset = DATASETS.build(dict(type='YouTubeVOSBenchmark', data_root=str(root), year=2019))
    sample = dataset[1]['data_samples']
    masks = masks_of(1)
    # The mask of the second birth shows object 1 too, which the model must find by itself.
    assert 1 in read_mask(root / 'valid' / 'Annotations' / 'video1' / '00010.png')
    assert list(sample.given_masks) == [0, 1]
    assert np.array_equal(sample.given_masks[0], np.where(masks[5] == 1, 1, 0))
    assert np.array_equal(sample.given_masks[1], np.where(masks[10] > 1, masks[10], 0))
    assert all(mask.dtype == np.uint8 for mask in sample.given_masks.values())
    born = {1: 0, 2: 1, 3: 1}
    assert sample.objects == {number: dict(category=None, first_frame=t) for number, t in born.items()}
    assert sample.frame_names == ['00005', '00010', '00015', '00020']
    assert sample.output_frames == [True] * 4
    folder = root / 'valid' / 'Annotations' / 'video1'
    assert sample.mask_paths == [str(folder / '00005.png'), str(folder / '00010.png'), None, None]


def test_frames_are_the_union_over_the_objects(root):
    write_image(root / 'valid' / 'JPEGImages' / 'video0' / '00025.jpg', np.zeros((*SIZE, 3), np.uint8))
    edit(root, lambda videos: videos['video0']['objects']['1'].update(frames=['00005', '00020']))
    for number in '23':
        edit(root, lambda videos, n=number: videos['video0']['objects'][n].update(frames=['00010']))
    sample = YouTubeVOSBenchmark(str(root))[0]['data_samples']
    assert sample.frame_names == ['00005', '00010', '00020']


def test_all_frames_between_the_first_and_last_listed(tmp_path):
    root = make_youtube_vos_valid(tmp_path, all_frames=True)
    item = YouTubeVOSBenchmark(str(root), all_frames=True)[0]
    sample = item['data_samples']
    assert sample.frame_names == [f'{t:05d}' for t in range(5, 21)]
    assert [t for t, listed in enumerate(sample.output_frames) if listed] == [0, 5, 10, 15]
    assert list(sample.given_masks) == [0, 5]
    assert {number: entry['first_frame'] for number, entry in sample.objects.items()} == {1: 0, 2: 5}
    assert 'valid_all_frames' in item['inputs'].path(3)


def test_annotated_split_and_held_out_part(tmp_path):
    root = make_youtube_vos_valid(tmp_path, split='train', num_videos=3, annotated=True)
    (root / 'held_out.txt').write_text('video2\nvideo0\n')
    dataset = YouTubeVOSBenchmark(str(root), split='train', video_list='held_out.txt')
    sample = dataset[0]['data_samples']
    assert [dataset[k]['data_samples'].video_id for k in range(2)] == ['video2', 'video0']
    assert None not in sample.mask_paths
    assert [entry['category'] for entry in sample.objects.values()] == ['dog', 'person']
    (root / 'held_out.txt').write_text('video0\nbear\n')
    with pytest.raises(ValueError, match=r'1 of 2 videos of .*held_out\.txt are not in .*meta\.json: bear'):
        YouTubeVOSBenchmark(str(root), split='train', video_list='held_out.txt')


def test_few_frames_leave_out_who_is_born_later(root):
    sample = YouTubeVOSBenchmark(str(root), max_frames=1)[0]['data_samples']
    assert list(sample.objects) == [1]
    assert list(sample.given_masks) == [0]


def test_partly_annotated_video_is_told(tmp_path, log):
    root = make_youtube_vos_valid(tmp_path, split='train', annotated=True)
    (root / 'train' / 'Annotations' / 'video1' / '00020.png').unlink()
    sample = YouTubeVOSBenchmark(str(root), split='train')[1]['data_samples']
    assert '1 videos have masks for a part of their frames' in log.text
    assert [path is None for path in sample.mask_paths] == [False, False, False, True]


def test_mask_that_does_not_show_its_object(root):
    write_mask(root / 'valid' / 'Annotations' / 'video0' / '00010.png', np.full(SIZE, 2, np.uint8))
    with pytest.raises(ValueError, match=r'video0/00010\.png does not show object 3'):
        YouTubeVOSBenchmark(str(root))[0]


def test_mask_of_another_size(root):
    write_mask(root / 'valid' / 'Annotations' / 'video0' / '00010.png', np.full((10, 10), 2, np.uint8))
    with pytest.raises(ValueError, match=r'00010\.png is 10x10 .* frame .*00010\.jpg is 64x96'):
        YouTubeVOSBenchmark(str(root))[0]


def test_what_is_missing_is_named(root, tmp_path):
    (root / 'valid' / 'Annotations' / 'video0' / '00010.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'mask not found: .*video0/00010\.png.*\(1 of 2 are missing\)'):
        YouTubeVOSBenchmark(str(root))
    (root / 'valid' / 'JPEGImages' / 'video0' / '00015.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'frame not found: .*00015\.jpg \(1 of the 4'):
        YouTubeVOSBenchmark(str(root))
    with pytest.raises(FileNotFoundError, match=r'no folder .*valid_all_frames/JPEGImages/video0'):
        YouTubeVOSBenchmark(str(root), all_frames=True)
    with pytest.raises(FileNotFoundError, match=r'YouTube-VOS: no file .*test/meta\.json'):
        YouTubeVOSBenchmark(str(root), split='test')
    with pytest.raises(FileNotFoundError, match=r'List of videos: no file .*none\.txt'):
        YouTubeVOSBenchmark(str(root), video_list='none.txt')


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('{', 'no valid JSON'),
        ('[]', 'lists no videos'),
        ('{"videos": {}}', 'lists no videos'),
        ('{"videos": ["a"]}', 'lists no videos'),
        ('{"videos": {"a": {}}}', 'video a has no objects'),
        ('{"videos": {"a": []}}', 'video a has no objects'),
        ('{"videos": {"a": {"objects": {}}}}', 'video a has no objects'),
        ('{"videos": {"a": {"objects": [1]}}}', 'video a has no objects'),
        ('{"videos": {"a": {"objects": {"1": ["0"]}}}}', "object '1' of video a"),
        ('{"videos": {"a": {"objects": {"1": {"frames": "0"}}}}}', "object '1' of video a"),
        ('{"videos": {"a": {"objects": {"1": {"frames": {"0": 1}}}}}}', "object '1' of video a"),
        ('{"videos": {"a": {"objects": {"1": {"frames": ["0", 5]}}}}}', "object '1' of video a"),
        ('{"videos": {"a": {"objects": {"1": {"frames": []}}}}}', "object '1' of video a"),
        ('{"videos": {"a": {"objects": {"x": {"frames": ["0"]}}}}}', "object 'x' of video a"),
        ('{"videos": {"a": {"objects": {"300": {"frames": ["0"]}}}}}', "object '300' of video a"),
    ],
)
def test_broken_meta(root, text, match):
    (root / 'valid' / 'meta.json').write_text(text)
    with pytest.raises(ValueError, match=match):
        YouTubeVOSBenchmark(str(root))


def test_year_out_of_range(root):
    with pytest.raises(ValueError, match='year must be one of 2018, 2019'):
        YouTubeVOSBenchmark(str(root), year=2017)


@pytest.mark.parametrize(
    ('number', 'fine'),
    [
        ('1', True),
        ('254', True),
        ('000000007', True),
        ('0', False),
        ('255', False),
        ('0000000007', False),
        ('-1', False),
        ('1.0', False),
    ],
)
def test_ids_are_1_to_254(tmp_path, number, fine):
    path = tmp_path / 'meta.json'
    path.write_text(json.dumps(dict(videos=dict(v=dict(objects={number: dict(frames=['00010', '00005', '00100'])})))))
    if fine:
        assert read_meta(path) == dict(v={int(number): dict(category=None, frames=['00005', '00010', '00100'])})
    else:
        with pytest.raises(ValueError, match=f'object {number!r} of video v must have an id from 1 to 254'):
            read_meta(path)


def test_objects_come_in_the_order_of_their_ids(tmp_path):
    objects = {number: dict(frames=['0'], category=f'c{number}') for number in ('10', '9', '2')}
    (tmp_path / 'meta.json').write_text(json.dumps(dict(videos=dict(v=dict(objects=objects)))))
    assert [(number, entry['category']) for number, entry in read_meta(tmp_path / 'meta.json')['v'].items()] == [
        (2, 'c2'),
        (9, 'c9'),
        (10, 'c10'),
    ]


@pytest.mark.parametrize(
    ('settings', 'title'),
    [
        ({}, 'YouTube-VOS-2018 valid'),
        (dict(year=2019), 'YouTube-VOS-2019 valid'),
        (dict(all_frames=True), 'YouTube-VOS-2018 valid (all frames)'),
    ],
)
def test_results_are_called_by_release_and_split(tmp_path, settings, title):
    assert YouTubeVOSBenchmark(str(make_youtube_vos_valid(tmp_path, all_frames=True)), **settings).title == title


@pytest.mark.parametrize(
    ('split', 'annotated', 'known'),
    [
        ('valid', False, False),
        ('test', False, False),
        ('train', False, True),
        ('train', True, True),
        ('valid', True, True),
    ],
)
def test_whether_the_truth_is_known(tmp_path, log, split, annotated, known):
    root = make_youtube_vos_valid(tmp_path, split=split, annotated=annotated)
    sample = YouTubeVOSBenchmark(str(root), split=split)[0]['data_samples']
    assert sample.truth_known is known
    assert 'masks for a part' not in log.text


def test_masks_of_frames_that_are_not_listed_do_not_count(root, log):
    folder = root / 'valid' / 'Annotations' / 'video0'
    for name in ('00007', '._00010'):
        write_mask(folder / f'{name}.png', np.ones(SIZE, np.uint8))
    (folder / '00015.jpg').write_bytes((folder / '00005.png').read_bytes())
    sample = YouTubeVOSBenchmark(str(root))[0]['data_samples']
    assert sample.mask_paths == [str(folder / '00005.png'), str(folder / '00010.png'), None, None]
    assert not sample.truth_known
    assert 'masks for a part' not in log.text


@pytest.mark.parametrize('births', [(0, 2, 2), (1, 0, 2)])
def test_what_meta_lists_decides_when_an_object_is_born(tmp_path, births):
    root = make_youtube_vos_valid(tmp_path, births=births)
    sample = YouTubeVOSBenchmark(str(root))[0]['data_samples']
    assert {number: entry['first_frame'] for number, entry in sample.objects.items()} == dict(enumerate(births, 1))
    assert {t: sorted(set(np.unique(mask)) - {0}) for t, mask in sample.given_masks.items()} == {
        t: [k + 1 for k, birth in enumerate(births) if birth == t] for t in sorted(set(births))
    }


def test_a_video_needs_a_second_frame_and_no_mask_for_it(tmp_path):
    """Without one the metric says that the video is not scored."""
    root = make_youtube_vos_valid(tmp_path, split='train', annotated=True, births=(0, 0))
    for path in (root / 'train' / 'Annotations').glob('*/*.png'):
        if path.stem != '00005':
            path.unlink()
    with pytest.raises(ValueError, match='1, with none after the first of an object'):
        YouTubeVOSBenchmark(str(root), split='train', max_frames=1)
    assert len(YouTubeVOSBenchmark(str(root), split='train', max_frames=2)) == 2
