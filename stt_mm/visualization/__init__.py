"""Drawing of results."""

from stt_mm.visualization.overlay import draw_points, overlay, write_comparison, write_figure
from stt_mm.visualization.video import VideoWriter

__all__ = ['VideoWriter', 'draw_points', 'overlay', 'write_comparison', 'write_figure']
