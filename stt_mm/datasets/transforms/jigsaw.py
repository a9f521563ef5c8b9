"""The local view of DetCo."""

import numpy as np
from mmcv.transforms import BaseTransform

from stt_mm.errors import InputError
from stt_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class JigsawMosaic(BaseTransform):
    """Cuts an image into cells, takes a random patch out of each, and puts the patches together in random order.

    With the default values an image of 255 x 255 has nine cells of 85 x 85 and becomes a mosaic of 192 x 192, which is
    packed, collated and normalised like any image and split into its patches by the model. Places and order are drawn
    for every image anew, from NumPy's global generator like all random numbers of mmpretrain's image pipelines.

    Required Keys:

    - img (np.ndarray): uint8 ``[H, W, C]``; H and W multiples of ``grid``

    Modified Keys:

    - img (np.ndarray): ``[grid * patch_size, grid * patch_size, C]``
    - img_shape (tuple[int, int]): its height and width

    Args:
        grid: cells per side.
        patch_size: side of a patch in pixels.
    """

    def __init__(self, grid: int = 3, patch_size: int = 64) -> None:
        if min(grid, patch_size) < 1:
            raise InputError(f'grid and patch_size must be 1 or more, got {grid} and {patch_size}.')
        self.grid = grid
        self.patch_size = patch_size

    def transform(self, results: dict) -> dict:
        image, grid, size = results['img'], self.grid, self.patch_size
        sides = image.shape[:2]
        cell = [side // grid for side in sides]
        if any(side % grid for side in sides) or min(cell) < size:
            raise InputError(
                f'JigsawMosaic: {grid} x {grid} cells that hold patches of {size} x {size} need sides '
                f'that are multiples of {grid} and at least {grid * size}, got {sides[0]} x {sides[1]}. '
                'Resize the image first, to 255 x 255 for the usual patches of 64 x 64.'
            )
        mosaic = np.empty((grid * size, grid * size, *image.shape[2:]), image.dtype)
        order = np.random.permutation(grid * grid)  # noqa: NPY002 mmpretrain's pipelines draw from this generator
        for place, source in enumerate(order):
            top, left = (
                number * length + np.random.randint(length - size + 1)  # noqa: NPY002
                for number, length in zip(divmod(source, grid), cell, strict=True)
            )
            row, column = (number * size for number in divmod(place, grid))
            mosaic[row : row + size, column : column + size] = image[top : top + size, left : left + size]
        results['img'] = mosaic
        results['img_shape'] = mosaic.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid={self.grid}, patch_size={self.patch_size})'
