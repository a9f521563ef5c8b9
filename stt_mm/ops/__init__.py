"""Pure functions on tensors: they hold no state and know nothing of MMEngine."""

from stt_mm.ops.affinity import global_affinity, local_affinity, pool_local_affinity
from stt_mm.ops.color import drop_channels, rgb_to_lab
from stt_mm.ops.labels import label_to_mask, mask_to_label, normalise_label, resize_label
from stt_mm.ops.propagation import propagate
from stt_mm.ops.reconstruction import reconstruct, subsample, upsample
from stt_mm.ops.selection import keep_per_batch, keep_per_image, keep_released, soft_weights, window_entropy
from stt_mm.ops.windows import local_correlation, window_mask, window_view

__all__ = [
    'drop_channels', 'global_affinity', 'keep_per_batch', 'keep_per_image', 'keep_released', 'label_to_mask',
    'local_affinity', 'local_correlation', 'mask_to_label', 'normalise_label', 'pool_local_affinity', 'propagate',
    'reconstruct', 'resize_label', 'rgb_to_lab', 'soft_weights', 'subsample', 'upsample', 'window_entropy',
    'window_mask', 'window_view',
]
