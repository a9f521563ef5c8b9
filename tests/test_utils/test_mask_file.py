"""Masks in JSON files: written and read again, and read from the forms that annotation programs write."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from stt_mm.errors import InputError
from stt_mm.utils.mask_file import MaskFileWriter, read_mask_file
from stt_mm.utils.rle import encode_rle

SIZE = (20, 30)
BRUSH = json.loads((Path(__file__).parents[1] / 'data' / 'rle' / 'label_studio.json').read_text())['brush'][-1]


def box(top, left, bottom, right, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def outline(top, left, bottom, right):
    return [float(number) for number in (left, top, right, top, right, bottom, left, bottom)]


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def coco(annotations, images=None):
    two = [
        dict(id=t + 1, file_name=f'frame_{t:06d}.PNG', width=30, height=20, license=0, coco_url='') for t in range(2)
    ]
    categories = [dict(id=1, name='dog', supercategory=''), dict(id=2, name='cat', supercategory='')]
    return dict(images=images or two, categories=categories, annotations=annotations)


def annotation(number, image, category, segmentation, **changes):
    return dict(id=number, image_id=image, category_id=category, segmentation=segmentation, iscrowd=0, **changes)


@pytest.fixture
def masks():
    rng = np.random.default_rng(0)
    masks = [np.kron(rng.integers(0, 5, (5, 6)), np.ones((4, 5))).astype(np.uint8) for _ in range(4)]
    masks[2][masks[2] > 0] = 0
    masks[3][0, 0] = 254
    return masks


def test_what_is_written_is_read_by_us_and_by_pycocotools(masks, tmp_path):
    path = tmp_path / 'new' / 'masks.json'
    with MaskFileWriter(path, {1: 'dog'}) as file:
        for t, mask in enumerate(masks):
            file.add(f'{5 * t:05d}.jpg', mask, index=t)
    found = read_mask_file(path)
    assert [frame.name for frame in found.frames] == ['00000', '00005', '00010', '00015']
    assert found.names[1] == 'dog'
    assert found.names[254] == '254'
    for t, frame in found.numbered().items():
        np.testing.assert_array_equal(frame.ids(), masks[t])
    # By the names of a folder, whatever the file says of numbers.
    assert list(found.numbered(['x', '00000', '00005', '00010', '00015'])) == [1, 2, 3, 4]
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.frames[0].ids(), masks[0])

    content = json.loads(path.read_text())
    for entry in content['annotations']:
        mask = masks[entry['image_id'] - 1] == entry['track_id']
        assert entry['area'] == mask.sum()
        left, top, width, height = entry['bbox']
        assert mask[top : top + height, left : left + width].sum() == mask.sum()
        assert mask[top].any()
        assert mask[:, left].any()
        assert mask[top + height - 1].any()
    api = pytest.importorskip('pycocotools.coco').COCO(path)
    assert sorted(api.getCatIds()) == sorted(found.names)
    for image in api.loadImgs(api.getImgIds()):
        ids = np.zeros(SIZE, np.uint8)
        for entry in api.loadAnns(api.getAnnIds(image['id'])):
            ids[api.annToMask(entry) > 0] = entry['category_id']
        np.testing.assert_array_equal(ids, masks[image['frame_index']])


def test_the_object_of_a_usual_mask_of_0_and_255_keeps_its_id(tmp_path):
    mask = np.where(np.arange(600).reshape(20, 30) % 7, 0, 255).astype(np.uint8)
    with MaskFileWriter(tmp_path / 'a.json') as file:
        file.add('00003.jpg', mask, index=3)
    given = read_mask_file(tmp_path / 'a.json').given()
    assert list(given) == [3]
    np.testing.assert_array_equal(given[3], mask)


def test_the_file_is_whole_after_an_error_and_not_made_without_a_frame(masks, tmp_path):
    def interrupted():
        with MaskFileWriter(tmp_path / 'a.json') as file:
            file.add('0.jpg', masks[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    np.testing.assert_array_equal(read_mask_file(tmp_path / 'a.json').frames[0].ids(), masks[0])
    with MaskFileWriter(tmp_path / 'b.json'):
        pass
    assert not (tmp_path / 'b.json').exists()
    with pytest.raises(InputError, match='must hold integers'), MaskFileWriter(tmp_path / 'b.json') as file:
        file.add('0.jpg', masks[0][None])


def test_tracks_of_cvat_are_objects(tmp_path, caplog):
    """Polygons and masks; CVAT counts tracks from 0, and writes a mask that it painted as a list of counts."""
    runs = encode_rle(box(2, 3, 9, 12))
    counts = [2 + 20 * 3, *[7, 13] * 8, 7]
    counts.append(600 - sum(counts))
    tracked = dict(occluded=False, rotation=0.0, keyframe=True)
    entries = [
        annotation(
            1, 1, 1, [outline(4, 5, 10, 11)], attributes=dict(tracked, track_id=0), area=36.0, bbox=[5, 4, 6, 6]
        ),
        annotation(2, 2, 1, [outline(5, 6, 11, 12), outline(0, 0, 2, 2)], attributes=dict(tracked, track_id=0)),
        annotation(3, 1, 1, dict(size=[20, 30], counts=counts), attributes=dict(tracked, track_id=1)),
        annotation(4, 2, 2, runs, attributes=dict(tracked, track_id=2)),
        annotation(5, 2, 2, [], attributes=dict(tracked, track_id=3), bbox=[1, 1, 2, 2]),
    ]
    with caplog.at_level(logging.WARNING):
        found = read_mask_file(write(tmp_path / 'instances_default.json', coco(entries)))
    assert '1 is 0, 2 is 1, 3 is 2' in caplog.text
    assert '1 boxes without a mask are left out' in caplog.text
    assert found.names == {1: 'dog', 2: 'dog', 3: 'cat'}
    frames = found.numbered()
    first, second = (frames[t].ids() for t in (0, 1))
    expected = np.where(box(4, 5, 10, 11), 1, np.where(box(2, 3, 9, 12), 2, 0))
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(
        second, np.where(box(5, 6, 11, 12) | box(0, 0, 2, 2), 1, np.where(box(2, 3, 9, 12), 3, 0))
    )
    given = found.given()
    assert list(given) == [0, 1]
    np.testing.assert_array_equal(given[0], expected)
    np.testing.assert_array_equal(given[1], np.where(second == 3, 3, 0))


def test_without_tracks_categories_are_objects_or_else_annotations(tmp_path):
    one = annotation(1, 1, 2, [outline(0, 0, 4, 4)])
    found = read_mask_file(write(tmp_path / 'a.json', coco([one, annotation(2, 2, 2, [outline(1, 1, 5, 5)])])))
    assert (found.names, found.frames[1].ids()[3, 3]) == ({2: 'cat'}, 2)
    same = annotation(7, 1, 2, outline(10, 10, 14, 14))
    found = read_mask_file(write(tmp_path / 'a.json', coco([one, same])))
    ids = found.frames[0].ids()
    assert (found.names, ids[1, 1], ids[12, 12]) == ({1: 'cat', 2: 'cat'}, 1, 2)
    assert not found.frames[1].ids().any()
    with pytest.raises(InputError, match='no track_id, and a frame has two of one category'):
        read_mask_file(write(tmp_path / 'a.json', coco([one, same, annotation(8, 2, 2, [outline(1, 1, 5, 5)])])))
    # What has no track among others that have is an object of its own.
    found = read_mask_file(write(tmp_path / 'a.json', coco([dict(one, track_id=4), same])))
    assert list(found.names) == [1, 2]


def test_smaller_objects_lie_over_larger_ones(tmp_path):
    entries = [annotation(1, 1, 1, [outline(2, 2, 5, 5)]), annotation(2, 1, 2, [outline(0, 0, 20, 30)])]
    ids = read_mask_file(write(tmp_path / 'a.json', coco(entries))).frames[0].ids()
    assert np.bincount(ids.ravel()).tolist() == [0, 9, 591]


def task(image, *results, number=1, cancelled=False):
    annotations = [dict(id=1, was_cancelled=True, result=[dict(value='left out')])] if cancelled else []
    return dict(id=number, data=dict(image=image), annotations=[*annotations, dict(id=2, result=list(results))])


def region(kind, size, **value):
    return dict(
        id='a1',
        type=kind,
        from_name='tag',
        to_name='image',
        original_height=size[0],
        original_width=size[1],
        value=value,
    )


def test_the_export_of_label_studio(tmp_path, caplog):
    size = tuple(BRUSH['size'])
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(BRUSH['bits']), np.uint8))[: size[0] * size[1]]
    painted = bits.reshape(size).astype(bool)
    percent = [[10, 20], [50, 20], [50, 60], [10, 60]]
    tasks = [
        task(
            '/data/upload/1/0123abcd-frame_07.jpg',
            region('brushlabels', size, format='rle', rle=BRUSH['rle'], brushlabels=['fish']),
            region('choices', size, choices=['good']),
            region('rectanglelabels', size, x=1, y=1, width=5, height=5, rectanglelabels=['fish']),
            cancelled=True,
        ),
        task(
            '/data/local-files/?d=videos/frame_09.jpg',
            region('polygonlabels', size, points=percent, closed=True, polygonlabels=['hook']),
            region('polygonlabels', size, points=[[60, 60], [90, 60], [90, 90]], polygonlabels=['hook']),
            number=2,
        ),
    ]
    with caplog.at_level(logging.WARNING):
        found = read_mask_file(write(tmp_path / 'project.json', tasks))
    assert '2 regions of hook in frame_09.jpg are one object' in caplog.text
    assert '2 regions that are no masks are left out' in caplog.text
    assert found.names == {1: 'fish', 2: 'hook'}
    frames = found.numbered(['frame_06', 'frame_07', 'frame_08', 'frame_09'])
    assert list(frames) == [1, 3]
    assert list(found.numbered()) == [7, 9]
    np.testing.assert_array_equal(frames[1].ids(), painted)
    hook = frames[3].ids()
    assert hook[round(0.4 * size[0]), round(0.3 * size[1])] == 2
    # JSON-MIN has the regions by the name of their tag, with the sizes inside.
    plain = [
        dict(
            id=1,
            image='/data/upload/1/0123abcd-frame_07.jpg',
            tag=[
                dict(format='rle', rle=BRUSH['rle'], brushlabels=['3'], original_height=size[0], original_width=size[1])
            ],
        )
    ]
    found = read_mask_file(write(tmp_path / 'min.json', plain))
    assert found.names == {3: '3'}
    np.testing.assert_array_equal(found.frames[0].ids(), 3 * painted)


@pytest.mark.parametrize('kind', ['brush', 'polygon'])
def test_labels_in_a_tag_of_their_own_make_no_second_object(kind, tmp_path):
    """Label Studio exports such a region twice, under one id; JSON-MIN has the two under the names of their tags."""
    size = tuple(BRUSH['size'])
    values = dict(brush=dict(format='rle', rle=BRUSH['rle']), polygon=dict(points=[[10, 20], [50, 20], [50, 60]]))
    drawn, other = values[kind], dict(points=[[60, 60], [90, 60], [90, 90]], closed=True)
    results = [
        region(kind, size, **drawn),
        region('labels', size, **drawn, labels=['fish']),
        region('polygon', size, **other),
    ]
    whole = task('frame_07.jpg', *results)
    sides = dict(original_height=size[0], original_width=size[1])
    plain = dict(
        id=1, image='frame_07.jpg', tag=[drawn | sides, other | sides], label=[drawn | sides | dict(labels=['fish'])]
    )
    for content in (whole, plain):
        found = read_mask_file(write(tmp_path / 'project.json', [content]))
        assert sorted(found.names.values()) == ['fish', 'unlabelled']
        ids = {name: number for number, name in found.names.items()}
        fish, rest = (found.frames[0].objects[ids[name]]() for name in ('fish', 'unlabelled'))
        assert fish.any()
        assert not (fish <= rest).all()


def test_masklets_of_sav(tmp_path):
    masklets = [
        [encode_rle(box(t, 2, t + 4, 9)), encode_rle(box(0, 0, 0, 0) if t < 2 else box(9, t, 12, 20))] for t in range(3)
    ]
    content = dict(video_id='sav_000001', video_frame_count=11.0, video_height=20.0, video_width=30.0, masklet=masklets)
    found = read_mask_file(write(tmp_path / 'sav_000001_manual.json', content))
    assert list(found.numbered()) == [0, 4, 8]
    assert found.frames[2].name == '00008'
    np.testing.assert_array_equal(found.frames[2].ids(), np.where(box(9, 2, 12, 20), 2, box(2, 2, 6, 9)))
    given = found.given()
    assert {number: np.unique(ids).tolist() for number, ids in given.items()} == {0: [0, 1], 8: [0, 2]}


def test_masklets_keep_the_ids_of_the_folders_of_sav(tmp_path):
    row = [encode_rle(box(0, 2, 4, 9)), encode_rle(box(9, 0, 12, 20))]
    content = dict(video_height=20, video_width=30, video_frame_count=1, masklet=[row], masklet_id=[3, 0])
    found = read_mask_file(write(tmp_path / 'a.json', content))
    np.testing.assert_array_equal(found.frames[0].ids(), np.where(box(9, 0, 12, 20), 1, 4 * box(0, 2, 4, 9)))
    for ids, message in (
        ([0], 'a.json: masklet_id has 1 masklets, but a frame 2'),
        ('01', 'a.json: masklet_id must be a list of whole numbers from 0'),
    ):
        with pytest.raises(InputError, match=message):
            read_mask_file(write(tmp_path / 'a.json', dict(content, masklet_id=ids)))


def test_a_track_may_be_a_whole_number_with_a_point(tmp_path):
    entries = [annotation(k, k, 1, [outline(0, 0, 4, 4)], track_id=track) for k, track in ((1, 7.0), (2, 7))]
    found = read_mask_file(write(tmp_path / 'a.json', coco(entries)))
    assert [np.unique(frame.ids()).tolist() for frame in found.frames] == [[0, 7]] * 2


GOOD = annotation(1, 1, 1, [outline(0, 0, 4, 4)])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, 'holds no masks that are known'),
        (3, 'holds no masks that are known'),
        ([], 'holds no masks that are known'),
        (dict(shapes=[]), 'holds no masks that are known'),
        (dict(videos=[], annotations=[]), 'form of YouTube-VIS'),
        ([dict(image_id=1, segmentation={})], 'results of COCO without the images'),
        (coco([]), 'holds no masks. Expected'),
        (coco([dict(GOOD, segmentation=[])]), 'holds no masks. Expected'),
        (coco([dict(GOOD, image_id=9)]), 'for image 9, which is not listed'),
        (coco([dict(GOOD, image_id=[1])]), 'for image .1., which is not listed'),
        (coco([dict(GOOD, category_id=7)]), 'of category 7, which is not listed'),
        (coco([GOOD], images=[7]), 'images must be a list'),
        (coco([GOOD], images=[dict(id=1)]), 'needs id, file_name'),
        (coco([GOOD], images=[dict(id=1, file_name='a.jpg')]), 'the size must be'),
        (coco([GOOD], images=[dict(id=1, file_name='..', width=3, height=3)]), "holds the name '..'"),
        (coco([GOOD], images=[dict(id=k, file_name=f'{k}/a.jpg', width=30, height=20) for k in (1, 2)]), 'split it by'),
        (coco([dict(GOOD, segmentation='text')]), 'must be outlines or a run-length code'),
        (coco([dict(GOOD, segmentation=dict(size=[3, 3], counts='9'))]), 'the image of .20, 30.'),
        (coco([dict(GOOD, id=k, track_id=k) for k in range(300)]), '300 objects, but a mask has ids 1 to 254'),
        ([dict(id=1, data=dict(text='no image'))], 'names no image'),
        ([task('a.jpg', region('brushlabels', (0, 3), rle=[1], brushlabels=['a']))], 'the size must be'),
        ([task('a.jpg', region('brushlabels', SIZE, rle=[1], brushlabels=['a', 'b']))], 'one label at most'),
        ([task('a.jpg')], 'holds no masks. Expected'),
        ([task('1/a.jpg'), task('2/a.jpg')], 'two tasks are for a.jpg'),
        ([dict(task('a.jpg'), annotations=3.5)], 'a.jpg: annotations must be a list of entries'),
        ([dict(task('a.jpg'), annotations=[dict(result=0.5)])], 'a.jpg: result must be a list of entries'),
        (
            [dict(task('a.jpg'), annotations=[dict(result=[dict(value=7)])])],
            'a.jpg: the value of a region must be an entry',
        ),
        (dict(masklet=3), 'masklet must be a list'),
        (dict(masklet=[[[]]], video_height=4, video_width=3), 'object 1 in frame 0: segmentation must be outlines'),
        (dict(masklet=[[]], masklet_id=[1, 4, 1], video_height=4, video_width=3), 'two masklets have the id 1'),
        (dict(masklet=[[dict(size=[3, 3], counts='9')]], video_height=4, video_width=3), 'the image of'),
    ],
)
def test_what_cannot_be_read_is_named(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_mask_file(write(tmp_path / 'a.json', content))


@pytest.mark.parametrize('kind', ['images', 'annotations', 'categories'])
def test_two_of_one_id_are_refused(tmp_path, kind):
    content = coco(
        [annotation(1, 1, 1, encode_rle(box(2, 3, 9, 12))), annotation(2, 2, 2, encode_rle(box(2, 3, 9, 12)))]
    )
    read_mask_file(write(tmp_path / 'good.json', content))
    content[kind][1]['id'] = content[kind][0]['id']
    with pytest.raises(InputError, match=f'a.json: two {kind} have the id 1. Expected each once'):
        read_mask_file(write(tmp_path / 'a.json', content))


def test_masks_that_are_all_empty_are_told(tmp_path):
    nothing = encode_rle(np.zeros(SIZE, bool))
    sav = dict(video_height=20, video_width=30, video_frame_count=2, masklet=[[nothing], [nothing]])
    for content in (coco([annotation(1, 1, 1, nothing)]), sav):
        found = read_mask_file(write(tmp_path / 'a.json', content))
        with pytest.raises(InputError, match='a.json shows no object: all its masks are empty'):
            found.given()


def test_what_is_damaged_is_named_when_it_is_drawn(tmp_path):
    for found, message in (
        ([[0.0, 1.0]], 'annotation 1 of frame_000000.PNG: an outline is'),
        (dict(size=[20, 30], counts='9'), 'annotation 1 of frame_000000.PNG: its runs have 9 pixels'),
    ):
        masks = read_mask_file(write(tmp_path / 'a.json', coco([dict(GOOD, segmentation=found)])))
        with pytest.raises(InputError, match=message):
            masks.given()
    points = task('a.jpg', region('polygonlabels', SIZE, points=[[1, 2, 3]], polygonlabels=['a']))
    with pytest.raises(InputError, match='in percent'):
        read_mask_file(write(tmp_path / 'a.json', [points])).given()


def test_frames_that_are_not_in_the_video_are_named(tmp_path):
    found = read_mask_file(write(tmp_path / 'a.json', coco([GOOD])))
    with pytest.raises(InputError, match='has masks of frame_000000, but none of the 2 frames'):
        found.numbered(['a', 'b'])
    images = [dict(id=k, file_name=name, width=30, height=20) for k, name in enumerate(('a3.jpg', 'b3.jpg', 'c.jpg'))]
    entry = dict(GOOD, image_id=0)
    with pytest.raises(InputError, match='a3 and b3 are both frame 3'):
        read_mask_file(write(tmp_path / 'a.json', dict(coco([entry]), images=images[:2]))).numbered()
    with pytest.raises(InputError, match='has masks of c, but it has no number'):
        read_mask_file(write(tmp_path / 'a.json', dict(coco([entry]), images=[images[0], images[2]]))).numbered()
