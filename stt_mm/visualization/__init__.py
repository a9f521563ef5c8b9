"""Drawing of results."""

from .overlay import comparison, overlay, write_picture, write_video

__all__ = ['comparison', 'overlay', 'write_picture', 'write_video']
