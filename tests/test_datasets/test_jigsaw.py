import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from stt_mm.engine import load_config
from stt_mm.ops import split_mosaic
from stt_mm.registry import TRANSFORMS

init_default_scope('stt_mm')


def coded(side=255, grid=3):
    """uint8 [side, side, 3]: the number of the cell, the row within the cell, the column within the cell."""
    length = side // grid
    rows, columns = np.indices((side, side))
    return np.stack([grid * (rows // length) + columns // length, rows % length, columns % length], -1).astype(np.uint8)


def mosaic(seed, image=None, **arguments):
    np.random.seed(seed)  # noqa: NPY002 the transform draws from the global generator
    transform = TRANSFORMS.build(dict(type='JigsawMosaic', **arguments))
    return transform(dict(img=coded() if image is None else image))


def patches(image):
    """[9, 3, 64, 64] by the split of the model."""
    return split_mosaic(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])


def test_nine_whole_patches_come_from_nine_distinct_cells():
    for seed in range(20):
        results = mosaic(seed)
        assert results['img'].shape == (192, 192, 3)
        assert results['img'].dtype == np.uint8
        assert results['img_shape'] == (192, 192)
        found = patches(results['img'])
        cells = [patch[0].unique().tolist() for patch in found]
        assert sorted(cells) == [[number] for number in range(9)]
        for patch in found:
            for channel, direction in ((1, 1), (2, 0)):
                # One row (column) after the other, all of them inside the cell.
                first = int(patch[channel].min())
                assert 0 <= first <= 85 - 64
                ramp = torch.arange(first, first + 64, dtype=torch.uint8)
                assert torch.equal(patch[channel], ramp[:, None].expand(64, 64) if direction else ramp.expand(64, 64))


def test_every_image_has_its_own_order_and_its_own_places():
    np.random.seed(0)  # noqa: NPY002
    transform = TRANSFORMS.build(dict(type='JigsawMosaic'))
    draws = [patches(transform(dict(img=coded()))['img'])[:, :, 0, 0].tolist() for _ in range(200)]
    orders = {tuple(patch[0] for patch in draw) for draw in draws}
    assert len(orders) > 195
    # Every cell gets into every place, and every one of the 22 positions is used in both directions.
    for place in range(9):
        assert {draw[place][0] for draw in draws} == set(range(9))
    for channel in (1, 2):
        assert {patch[channel] for draw in draws for patch in draw} == set(range(22))
    # The places of the nine patches of an image differ too.
    assert all(len({tuple(patch[1:]) for patch in draw}) > 4 for draw in draws)
    assert mosaic(3)['img'].tobytes() == mosaic(3)['img'].tobytes() != mosaic(4)['img'].tobytes()


def test_split_undoes_a_mosaic_that_a_loop_has_put_together():
    parts = torch.randn(2, 9, 3, 5, 7)
    joined = torch.zeros(2, 3, 15, 21)
    for image in range(2):
        for number in range(9):
            row, column = 5 * (number // 3), 7 * (number % 3)
            joined[image, :, row : row + 5, column : column + 7] = parts[image, number]
    assert torch.equal(split_mosaic(joined), parts.flatten(0, 1))


def test_other_grids_grey_images_and_patches_of_the_size_of_a_cell():
    image = np.random.default_rng(0).integers(0, 256, (40, 20), dtype=np.uint8)
    result = mosaic(0, image, grid=2, patch_size=10)['img']
    assert result.shape == (20, 20)
    full = mosaic(0, image[:20], grid=2, patch_size=10)['img']
    assert sorted(full.ravel()) == sorted(image[:20].ravel())


@pytest.mark.parametrize('size', [(256, 255), (255, 254), (189, 255)])
def test_an_image_that_has_no_such_cells_is_refused(size):
    with pytest.raises(ValueError, match=rf'multiples of 3 and at least 192, got {size[0]} x {size[1]}'):
        mosaic(0, np.zeros((*size, 3), np.uint8))


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match='must be 1 or more, got 0 and 64'):
        TRANSFORMS.build(dict(type='JigsawMosaic', grid=0))
    with pytest.raises(ValueError, match='sides that are multiples of 3, got 191 x 192'):
        split_mosaic(torch.zeros(1, 3, 191, 192))


@pytest.mark.parametrize('depth', [18, 50])
def test_the_pipeline_gives_two_global_and_two_local_views_of_the_whole_image(depth):
    cfg = load_config(f'configs/pretrain/detco_r{depth}_in1k.py')
    pipeline = cfg.train_dataloader.dataset.pipeline
    views = TRANSFORMS.build(pipeline[-2]).transforms[0]
    assert views.num_views == [2, 2]
    np.random.seed(0)  # noqa: NPY002
    results = dict(img=np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    sizes = [image.shape for image in views(results)['img']]
    assert sizes == [(224, 224, 3), (224, 224, 3), (192, 192, 3), (192, 192, 3)]
    assert len({image.tobytes() for image in results['img']}) == 4

    # What rows and columns the crop still shows tells its area.
    crop = views.pipelines[1].transforms[0]
    image = np.stack([*np.indices((200, 250)), np.zeros((200, 250))], -1).astype(np.uint8)
    areas = []
    for _ in range(100):
        height, width = (np.ptp(crop(dict(img=image))['img'].astype(int), (0, 1)) + 1)[:2]
        areas.append(height * width / (200 * 250))
    assert 0.58 < min(areas) < 0.68
    assert 0.9 < max(areas) <= 1


def test_the_least_grid_and_the_least_patch():
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert mosaic(0, image, grid=1, patch_size=1)['img'].shape == (1, 1, 3)
    for wrong in (dict(patch_size=0), dict(grid=-1)):
        with pytest.raises(ValueError, match='must be 1 or more'):
            TRANSFORMS.build(dict(type='JigsawMosaic', **wrong))


def test_cells_may_be_higher_than_wide():
    image = np.random.default_rng(0).integers(0, 256, (12, 6), dtype=np.uint8)
    image[6:] = 0
    found = {mosaic(seed, image, grid=2, patch_size=3)['img'].tobytes() for seed in range(200)}
    # Two cells begin at rows 0 to 3, in 24 orders; the others are black.
    assert len(found) > 100
    assert all(np.count_nonzero(np.frombuffer(one, np.uint8)) <= 18 for one in found)
