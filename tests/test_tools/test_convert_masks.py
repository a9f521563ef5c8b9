"""Masks of one video in another form, and data sets that are made of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_tools.test_command_line import error_of, tool
from tiny_data import moving_shapes, write_image

from stt_mm.datasets import DAVIS, YouTubeVOSBenchmark
from stt_mm.utils import read_mask, write_mask
from stt_mm.utils.mask_file import MaskFileWriter, read_mask_file
from stt_mm.utils.rle import encode_rle


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Frames and masks of a video, whose second object comes later, and the masks as COCO."""
    monkeypatch.chdir(tmp_path)
    frames, masks = moving_shapes(5, (40, 60), 2)
    masks[:2][masks[:2] == 2] = 0
    with MaskFileWriter('masks.json', {1: 'dog'}) as file:
        for t in range(5):
            write_image(f'talk/{t:05d}.jpg', frames[t])
            write_mask(f'masks/{t:05d}.png', masks[t])
            file.add(f'{t:05d}.jpg', masks[t], t)
    return masks


def convert(*args):
    tool('dataset/convert_masks').main([str(arg) for arg in args])


def test_there_and_back(place, capsys):
    convert('masks', 'a.json')
    assert capsys.readouterr().out == '5 masks in a.json\n'
    convert('a.json', 'b')
    convert('masks.json', 'c', '--frames', 'talk')
    for t, frame in read_mask_file('a.json').numbered().items():
        np.testing.assert_array_equal(frame.ids(), place[t])
        for folder in 'bc':
            np.testing.assert_array_equal(read_mask(f'{folder}/{t:05d}.png'), place[t])
    convert('masks', 'd.json', '--frames', 'talk')
    assert json.loads(Path('d.json').read_text())['images'][1]['file_name'] == '00001.jpg'
    convert('masks.json', 'e.json')
    assert read_mask_file('e.json').names == {1: 'dog', 2: '2'}


def test_masks_are_named_after_the_frames(place):
    """CVAT numbers the frames of a video by itself."""
    content = json.loads(Path('masks.json').read_text())
    for t, image in enumerate(content['images']):
        image['file_name'] = f'frame_{t:06d}.PNG'
    Path('cvat.json').write_text(json.dumps(content))
    convert('cvat.json', 'a', '--frames', 'talk')
    assert sorted(path.name for path in Path('a').glob('*.png')) == [f'{t:05d}.png' for t in range(5)]
    shutil.rmtree('talk')
    convert('cvat.json', 'b')
    np.testing.assert_array_equal(read_mask('b/frame_000003.png'), place[3])


def test_images_without_annotations_may_be_left_out(place):
    content = json.loads(Path('masks.json').read_text())
    content['annotations'] = [entry for entry in content['annotations'] if entry['image_id'] in (1, 4)]
    Path('sparse.json').write_text(json.dumps(content))
    convert('sparse.json', 'all')
    convert('sparse.json', 'some', '--skip-empty')
    assert [len(list(Path(folder).glob('*.png'))) for folder in ('all', 'some')] == [5, 2]


def test_data_sets_that_are_made_are_those_that_are_read(place):
    for video in ('one', 'two'):
        convert('masks.json', 'data', '--layout', 'davis', '--frames', 'talk', '--video', video)
        convert('masks', 'data', '--layout', 'ytv', '--frames', 'talk', '--video', video)
    davis, ytv = DAVIS('data'), YouTubeVOSBenchmark('data', split='train')
    for dataset in (davis, ytv):
        assert [dataset[k]['data_samples'].video_id for k in range(2)] == ['one', 'two']
        assert len(dataset[0]['inputs']) == 5
        for t, path in enumerate(dataset[1]['data_samples'].mask_paths):
            np.testing.assert_array_equal(read_mask(path), place[t])
    assert ytv[0]['data_samples'].objects == {
        1: dict(category=None, first_frame=0),
        2: dict(category=None, first_frame=2),
    }
    convert('masks.json', 'data', '--layout', 'ytv', '--frames', 'talk')
    sample = YouTubeVOSBenchmark('data', split='train')[1]['data_samples']
    assert (sample.video_id, sample.objects[1]['category']) == ('talk', 'dog')


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['gone', 'a.json'], 'no file gone'),
        (['nothing', 'a.json'], 'nothing shows no object: all its masks are empty'),
        (['nothing.json', 'a'], 'nothing.json shows no object: all its masks are empty'),
        (['nothing', 'a', '--layout', 'davis', '--frames', 'talk'], 'nothing shows no object'),
        (['talk', 'a.json'], 'talk holds no masks'),
        (['masks', 'masks.json', '--frames', 'gone'], 'no folder gone'),
        (['masks', 'masks.json', '--frames', 'empty'], 'empty holds no images'),
        (['masks.json', 'masks.json'], 'masks.json is read here and would be replaced'),
        (['masks.json', 'talk', '--frames', 'talk'], 'talk holds talk/00000.jpg, which is read'),
        (['masks.json', 'masks'], 'masks holds 5 other files'),
        (['masks', 'a.json', '--frames', 'few'], 'masks has a mask of 00003, but --frames has no such image'),
        (['masks.json', 'a', '--frames', 'few'], 'has masks of 00003, but none of the 3 frames'),
        (['masks', 'data', '--layout', 'davis', '--frames', 'talk', '--video', '../x'], "holds the name '../x'"),
        (
            ['masks', 'data', '--layout', 'davis', '--frames', 'talk', '--video', 'a b'],
            "names without spaces, got 'a b'",
        ),
    ],
)
def test_what_cannot_be_converted(place, capfd, args, message):
    Path('empty').mkdir()
    nothing = np.zeros((40, 60), np.uint8)
    write_mask('nothing/00000.png', nothing)
    content = json.loads(Path('masks.json').read_text())
    content['annotations'] = [entry | dict(segmentation=encode_rle(nothing)) for entry in content['annotations']]
    Path('nothing.json').write_text(json.dumps(content))
    shutil.copytree('talk', 'few')
    for t in (3, 4):
        Path(f'few/{t:05d}.jpg').unlink()
    assert message in error_of(capfd, 'dataset/convert_masks', *args)
    assert not Path('a').exists()


def test_a_video_is_not_added_twice(place, capfd):
    convert('masks', 'data', '--layout', 'davis', '--frames', 'talk')
    assert 'talk exists. Name another video' in error_of(
        capfd, 'dataset/convert_masks', 'masks', 'data', '--layout', 'davis', '--frames', 'talk'
    )


def test_a_list_without_a_last_newline_keeps_its_videos(place):
    path = Path('data/ImageSets/2017/val.txt')
    path.parent.mkdir(parents=True)
    path.write_text('bear\ncamel')
    convert('masks', 'data', '--layout', 'davis', '--frames', 'talk')
    assert path.read_text() == 'bear\ncamel\ntalk\n'
    shutil.rmtree('data/JPEGImages')
    shutil.rmtree('data/Annotations')
    convert('masks', 'data', '--layout', 'davis', '--frames', 'talk')
    assert path.read_text() == 'bear\ncamel\ntalk\n'


def test_a_file_that_is_not_of_youtube_vos_is_told_before_anything_is_written(place, capfd):
    path = Path('data/train/meta.json')
    path.parent.mkdir(parents=True)
    path.write_text('{}')
    line = ('masks', 'data', '--layout', 'ytv', '--frames', 'talk')
    assert 'meta.json is not that of YouTube-VOS' in error_of(capfd, 'dataset/convert_masks', *line)
    assert [found.name for found in Path('data/train').iterdir()] == ['meta.json']


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['m', 'o', '--layout', 'davis'], '--layout needs --frames'),
        (['m', 'o', '--video', 'v'], '--video is the name in a data set'),
        (['m', 'o', '--layout', 'ytv', '--frames', 'f', '--overwrite'], 'a data set keeps its videos'),
    ],
)
def test_options_that_do_not_go_together(args, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool('dataset/convert_masks').parse_args(args)
    assert message in capsys.readouterr().err
