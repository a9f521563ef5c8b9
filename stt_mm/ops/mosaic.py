"""A set of patches travels as one image."""

from torch import Tensor


def split_mosaic(mosaic: Tensor, grid: int = 3) -> Tensor:
    """Cut images into their cells.

    Args:
        mosaic: ``[B, C, grid * h, grid * w]``.
        grid: cells per side.

    Returns:
        ``[B * grid * grid, C, h, w]``: the cells of an image row by row, then those of the next image.

    Raises:
        ValueError: if the sides are no multiples of ``grid``.
    """
    batch, channels, height, width = mosaic.shape
    if height % grid or width % grid:
        raise ValueError(
            f'A mosaic of {grid} x {grid} patches has sides that are multiples of {grid}, got '
            f'{height} x {width}. End the pipeline of the local views with JigsawMosaic.'
        )
    cells = mosaic.reshape(batch, channels, grid, height // grid, grid, width // grid)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch * grid * grid, channels, height // grid, width // grid)
