"""Drawing of results."""

from stt_mm.visualization.overlay import comparison, draw_points, overlay, write_picture
from stt_mm.visualization.video import VideoWriter, write_video

__all__ = ['VideoWriter', 'comparison', 'draw_points', 'overlay', 'write_picture', 'write_video']
