"""Measures as functions of arrays; they know no config, no dataset and no framework."""

from stt_mm.evaluation.functional.davis import (
    boundary_measure,
    evaluate_video,
    measure_objects,
    region_similarity,
    statistics,
)
from stt_mm.evaluation.functional.instance_ap import instance_ap, match_instances
from stt_mm.evaluation.functional.jhmdb import count_points, pck
from stt_mm.evaluation.functional.vip import accuracies, category_iou, confusion_matrix
from stt_mm.evaluation.functional.youtube_vos import score_objects, summarise_categories

__all__ = [
    'accuracies',
    'boundary_measure',
    'category_iou',
    'confusion_matrix',
    'count_points',
    'evaluate_video',
    'instance_ap',
    'match_instances',
    'measure_objects',
    'pck',
    'region_similarity',
    'score_objects',
    'statistics',
    'summarise_categories',
]
