"""Drawing of results."""

from stt_mm.visualization.marks import RIGHT, UNKNOWN, WRONG, draw_heat, draw_mark, draw_skeleton
from stt_mm.visualization.overlay import draw_points, overlay, write_comparison, write_figure
from stt_mm.visualization.sheets import png_bytes, stack_rows, to_height, with_title, write_page
from stt_mm.visualization.video import VideoWriter

__all__ = [
    'RIGHT',
    'UNKNOWN',
    'WRONG',
    'VideoWriter',
    'draw_heat',
    'draw_mark',
    'draw_points',
    'draw_skeleton',
    'overlay',
    'png_bytes',
    'stack_rows',
    'to_height',
    'with_title',
    'write_comparison',
    'write_figure',
    'write_page',
]
