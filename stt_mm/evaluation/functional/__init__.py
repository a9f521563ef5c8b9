"""Measures as functions of arrays; they know no config, no dataset and no framework."""

from stt_mm.evaluation.functional.badja import correct_joints, object_area, to_scored_size
from stt_mm.evaluation.functional.davis import (
    boundary_measure,
    evaluate_video,
    measure_objects,
    region_similarity,
    statistics,
)
from stt_mm.evaluation.functional.instance_ap import instance_ap, match_instances
from stt_mm.evaluation.functional.jhmdb import count_points, pck
from stt_mm.evaluation.functional.tap_vid import tap_vid
from stt_mm.evaluation.functional.vip import accuracies, category_iou, confusion_matrix
from stt_mm.evaluation.functional.youtube_vos import score_objects, summarise_categories

__all__ = [
    'accuracies',
    'boundary_measure',
    'category_iou',
    'confusion_matrix',
    'correct_joints',
    'count_points',
    'evaluate_video',
    'instance_ap',
    'match_instances',
    'measure_objects',
    'object_area',
    'pck',
    'region_similarity',
    'score_objects',
    'statistics',
    'summarise_categories',
    'tap_vid',
    'to_scored_size',
]
