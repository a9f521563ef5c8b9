"""The page in the browser: paint, propagate, correct and export, on one's own machine."""

from stt_mm.app.command import main

__all__ = ['main']
