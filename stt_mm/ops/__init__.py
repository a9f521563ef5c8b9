"""Pure functions on tensors: they hold no state and know nothing of MMEngine."""

from stt_mm.ops.affinity import global_affinity, local_affinity, pool_local_affinity
from stt_mm.ops.color import (
    COLORS,
    bytes_to_input,
    checked_input,
    color_centres,
    drop_channels,
    image_to_input,
    nearest_centre,
    normalise_frames,
    resize_frame,
    rgb_to_lab,
)
from stt_mm.ops.compactness import gathered
from stt_mm.ops.devices import to_device
from stt_mm.ops.early import early_gradient
from stt_mm.ops.fisher import add_squared, quadratic_penalty
from stt_mm.ops.labels import (
    id_strengths,
    ids_to_label,
    label_to_mask,
    mask_to_label,
    normalise_label,
    resize_label,
    resize_mask_nearest,
)
from stt_mm.ops.matches import principal_components, vote_weights
from stt_mm.ops.mosaic import split_mosaic
from stt_mm.ops.points import gaussian_maps, label_to_points, points_to_label
from stt_mm.ops.position import draw_permutations, draw_shifts, resize_map, shift_map, shuffle_map, sinusoids
from stt_mm.ops.propagation import Voters, propagate, propagate_many
from stt_mm.ops.reconstruction import reconstruct, subsample, upsample
from stt_mm.ops.refine import Patches, Pyramid, point_patches, pyramid, refined_points
from stt_mm.ops.round_trip import hidden_points, way_back
from stt_mm.ops.search import Vote
from stt_mm.ops.selection import (
    KEEP,
    keep_per_batch,
    keep_per_image,
    keep_released,
    select_queries,
    soft_weights,
    window_entropy,
)
from stt_mm.ops.streamed import streamed_log_sum_exp
from stt_mm.ops.tiling import LongSearch, Plan, Way, Window, plan_for_memory
from stt_mm.ops.walk import cut_patches, draw_crops, grid_boxes, round_trips, transitions, walk_loss
from stt_mm.ops.windows import local_correlation, window_mask, window_view

__all__ = [
    'COLORS',
    'KEEP',
    'LongSearch',
    'Patches',
    'Plan',
    'Pyramid',
    'Vote',
    'Voters',
    'Way',
    'Window',
    'add_squared',
    'bytes_to_input',
    'checked_input',
    'color_centres',
    'cut_patches',
    'draw_crops',
    'draw_permutations',
    'draw_shifts',
    'drop_channels',
    'early_gradient',
    'gathered',
    'gaussian_maps',
    'global_affinity',
    'grid_boxes',
    'hidden_points',
    'id_strengths',
    'ids_to_label',
    'image_to_input',
    'keep_per_batch',
    'keep_per_image',
    'keep_released',
    'label_to_mask',
    'label_to_points',
    'local_affinity',
    'local_correlation',
    'mask_to_label',
    'nearest_centre',
    'normalise_frames',
    'normalise_label',
    'plan_for_memory',
    'point_patches',
    'points_to_label',
    'pool_local_affinity',
    'principal_components',
    'propagate',
    'propagate_many',
    'quadratic_penalty',
    'pyramid',
    'reconstruct',
    'refined_points',
    'resize_frame',
    'resize_label',
    'resize_map',
    'resize_mask_nearest',
    'rgb_to_lab',
    'round_trips',
    'select_queries',
    'shift_map',
    'shuffle_map',
    'sinusoids',
    'soft_weights',
    'split_mosaic',
    'streamed_log_sum_exp',
    'subsample',
    'to_device',
    'transitions',
    'upsample',
    'vote_weights',
    'walk_loss',
    'way_back',
    'window_entropy',
    'window_mask',
    'window_view',
]
