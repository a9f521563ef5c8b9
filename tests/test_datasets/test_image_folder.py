# ruff: noqa: NPY002 - the global generators are what is tested

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image
from tiny_data import moving_shapes, texture, write_image, write_video

from stt_mm.datasets import ImageFolder, VideoFolder
from stt_mm.datasets.transforms import ColorJitter, LoadImage, SeededCompose
from stt_mm.engine import load_config
from stt_mm.registry import TRANSFORMS
from stt_mm.utils import FrameError

CONFIG = Path(__file__).parents[2] / 'configs' / 'pretrain' / 'mocov2_r18_in1k.py'


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('stt_mm')


@pytest.fixture
def imagenet(tmp_path):
    """Three classes in the official layout, names included."""
    for number, wnid in enumerate(('n01440764', 'n01443537', 'n15075141')):
        for image in (2, 10, 18):
            path = tmp_path / 'train' / wnid / f'{wnid}_{image}.JPEG'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(texture((40, 60), 10 * number + image)).save(path, 'JPEG')
    return tmp_path / 'train'


def ids(dataset):
    return [dataset.get_data_info(index)['video_id'] for index in range(len(dataset))]


def views(imagenet, **changes):
    """The shipped two-view pipeline on 9 images."""
    settings = load_config(CONFIG).train_dataloader.dataset
    return ImageFolder(str(imagenet), pipeline=settings.pipeline, **changes)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def test_official_imagenet_layout(imagenet):
    (imagenet / 'LOC_synset_mapping.txt').write_text('no image')
    assert ids(ImageFolder(str(imagenet))) == [
        f'{wnid}/{wnid}_{image}.JPEG' for wnid in ('n01440764', 'n01443537', 'n15075141') for image in (2, 10, 18)
    ]


def test_any_tree_hidden_parts_left_out_links_followed_once(imagenet, tmp_path):
    for name in ('top.png', 'a/2/x.webp', 'a/10/x.bmp', '.thumbnails/x.png', 'a/.x.png'):
        write_image(tmp_path / 'mixed' / name, texture((8, 8), 0))
    (tmp_path / 'mixed' / 'a' / 'back').symlink_to(tmp_path / 'mixed')
    (tmp_path / 'mixed' / 'linked').symlink_to(imagenet / 'n01440764')
    assert ids(ImageFolder(str(tmp_path / 'mixed'))) == [
        'top.png',
        'a/2/x.webp',
        'a/10/x.bmp',
        *(f'linked/n01440764_{image}.JPEG' for image in (2, 10, 18)),
    ]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder .*nowhere'):
        ImageFolder(str(tmp_path / 'nowhere'))
    write_video(tmp_path / 'film.avi', moving_shapes(3, (32, 32), 1)[0], 'MJPG')
    with pytest.raises(FileNotFoundError, match=r'no image in .*extract_frames\.py'):
        ImageFolder(str(tmp_path))


def test_an_image_that_is_cut_off_stops_or_is_replaced(imagenet):
    cut(imagenet / 'n01440764' / 'n01440764_10.JPEG')
    with pytest.raises(FrameError, match=r'n01440764_10\.JPEG .* it is cut off'):
        ImageFolder(str(imagenet), pipeline=[dict(type='LoadImage')])[1, 0, 0]
    dataset = ImageFolder(str(imagenet), pipeline=[dict(type='LoadImage')], on_error='skip')
    other = dataset[1, 0, 0]
    assert dataset.num_skipped == 1
    assert other['video_id'] != 'n01440764/n01440764_10.JPEG'
    assert other['img'].shape == (40, 60, 3)


def test_image_is_bgr_with_its_size(tmp_path):
    image = np.zeros((5, 7, 3), np.uint8)
    image[..., 0] = 200  # red
    write_image(tmp_path / 'red.png', image)
    item = ImageFolder(str(tmp_path), pipeline=[LoadImage()])[0]
    assert item['img'][0, 0].tolist() == [0, 0, 200]
    assert item['img'].flags.c_contiguous
    assert (item['img_shape'], item['ori_shape']) == ((5, 7), (5, 7))
    assert item['img_path'] == os.path.join(tmp_path, 'red.png')


def test_video_files_give_one_frame_each(tmp_path):
    frames = np.stack([np.full((32, 48, 3), 20 * t, np.uint8) for t in range(10)])
    write_video(tmp_path / 'film.avi', frames, 'MJPG')
    dataset = VideoFolder(str(tmp_path), pipeline=[LoadImage()], clip_length=1)
    means = {round(float(dataset[0, draw, 0]['img'].mean()) / 20) for draw in range(40)}
    assert len(means) > 5
    item = dataset[0, 3, 0]
    assert abs(float(item['img'].mean()) - 20 * item['frame_inds'][0]) < 5


def test_views_depend_on_index_draw_and_seed_alone(imagenet):
    first, second = views(imagenet), views(imagenet)
    key = (4, 17, 3)
    expected = first[key]
    assert [view.shape for view in expected['inputs']] == [(3, 224, 224)] * 2
    assert all(view.dtype == torch.uint8 for view in expected['inputs'])
    assert not torch.equal(*expected['inputs'])
    for _ in range(5):
        random.random(), np.random.rand(), torch.rand(1), second[2, 0, 0]
    for view, again in zip(expected['inputs'], second[key]['inputs'], strict=True):
        assert torch.equal(view, again)
    for other in ((4, 18, 3), (4, 17, 4)):
        assert not torch.equal(expected['inputs'][0], second[other]['inputs'][0])


def test_global_generators_are_left_as_they_were(imagenet):
    dataset = views(imagenet)

    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = numbers()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    dataset[0, 0, 0]
    assert numbers() == expected


def test_generators_are_given_back_after_an_error():
    def fail(results):
        raise OSError('broken')

    states = random.getstate(), torch.get_rng_state()
    with pytest.raises(OSError, match='broken'):
        SeededCompose([fail])(dict(rng=np.random.default_rng(0)))
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_a_batch_is_two_tensors_and_the_samples(imagenet):
    dataset = views(imagenet)
    batch = default_collate([dataset[index, index, 0] for index in range(3)])
    assert [tuple(view.shape) for view in batch['inputs']] == [(3, 3, 224, 224)] * 2
    assert [Path(sample.img_path).name for sample in batch['data_samples']] == [
        f'n01440764_{image}.JPEG' for image in (2, 10, 18)
    ]


@pytest.mark.parametrize('strength', [0.0, 0.1, 0.5])
def test_colour_jitter_equals_mmpretrains_where_that_one_works(strength):
    """Bit by bit, for shifts of the hue that are not negative."""
    settings = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=(0.0, strength))
    theirs, ours = TRANSFORMS.build(dict(settings, type='mmpretrain.ColorJitter')), ColorJitter(**settings)
    image = texture((48, 64), 3)
    for seed in range(6):
        np.random.seed(seed)
        expected = theirs(dict(img=image.copy()))['img']
        np.random.seed(seed)
        found = ours(dict(img=image.copy()))['img']
        assert np.array_equal(found, expected)
        assert not np.array_equal(found, image)


@pytest.mark.parametrize(('shift', 'rgb'), [(-1 / 3, (0, 0, 255)), (1 / 3, (0, 255, 0)), (-0.5, (0, 255, 255))])
def test_hue_goes_around_the_circle_in_both_directions(shift, rgb):
    red = np.full((4, 4, 3), (0, 0, 255), np.uint8)  # BGR
    found = ColorJitter(hue=(shift, shift))(dict(img=red))['img'][0, 0, ::-1].astype(int)
    assert np.abs(found - rgb).max() <= 12


def test_the_generators_inside_start_from_one_number_of_the_item():
    def draw(results):
        return dict(results, drawn=(random.random(), np.random.rand(), torch.rand(1).item()))

    found = SeededCompose([draw, lambda results: results])(dict(rng=np.random.default_rng(4)))['drawn']
    seed = int(np.random.default_rng(4).integers(2**32))
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    assert found == (random.random(), np.random.rand(), torch.rand(1).item())


def test_a_transform_that_gives_up_ends_the_others():
    rng = np.random.default_rng(0)
    assert SeededCompose([lambda results: None, lambda results: pytest.fail('went on')])(dict(rng=rng)) is None


@pytest.mark.parametrize(('shift', 'hue'), [(0.5, 127), (-0.5, 129), (0.25, 63), (-0.25, 193), (0.0, 0), (-0.001, 0)])
def test_the_hue_of_red_moves_by_so_many_of_256(shift, hue):
    """By 255 times the shift, towards 0."""
    red = np.full((2, 2, 3), (0, 0, 255), np.uint8)  # BGR
    found = ColorJitter(hue=(shift, shift))(dict(img=red))['img']
    expected = np.asarray(Image.new('HSV', (2, 2), (hue, 255, 255)).convert('RGB'))
    assert np.array_equal(found[..., ::-1], expected)
    assert found.flags.c_contiguous


def test_jitter_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match='ColorJitter cannot be built'):
        ColorJitter(hue='much')


def test_the_path_of_an_image_is_that_of_its_file(tmp_path):
    write_video(tmp_path / 'film.avi', np.zeros((4, 32, 48, 3), np.uint8), 'MJPG')
    assert VideoFolder(str(tmp_path), pipeline=[LoadImage()])[0]['img_path'] == str(tmp_path / 'film.avi')
    paths = [str(tmp_path / f'{t}.png') for t in range(3)]
    for t, path in enumerate(paths):
        write_image(path, texture((6, 8), t))
    found = LoadImage()(dict(video_id='v', frame_paths=paths, frame_inds=[2, 0]))
    assert found['img_path'] == paths[2]
    assert np.array_equal(found['img'][..., ::-1], texture((6, 8), 2))


def test_the_number_of_images_is_logged(imagenet, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel('INFO')
    ImageFolder(str(imagenet))
    logger.removeHandler(caplog.handler)
    assert f'ImageFolder: 9 images ({imagenet})' in caplog.text
