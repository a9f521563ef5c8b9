"""Drawing of results."""

from .overlay import comparison, draw_points, overlay, write_picture
from .video import VideoWriter, write_video

__all__ = ['VideoWriter', 'comparison', 'draw_points', 'overlay', 'write_picture', 'write_video']
