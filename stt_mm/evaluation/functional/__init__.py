"""Measures as functions of arrays; they know no config, no dataset and no framework."""

from .davis import boundary_measure, evaluate_video, region_similarity, statistics

__all__ = ['boundary_measure', 'evaluate_video', 'region_similarity', 'statistics']
