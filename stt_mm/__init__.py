"""Self-supervised video correspondence: train dense features, propagate labels, score benchmarks."""

from stt_mm.version import __version__

__all__ = ['__version__']
