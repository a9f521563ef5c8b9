# LIIR, first stage: reconstruction inside a video, from scratch. 2 GPUs x 6 pairs, 30 epochs of the public unofficial
# code; the paper's numbers are lost. The rate falls as in MAST.
_base_ = [
    '../_base_/models/liir_r18_pairs.py',
    '../_base_/datasets/youtube_vos_pairs.py',
    '../_base_/datasets/davis.py',
    '../_base_/schedules/adam_pairs.py',
    '../_base_/default_runtime.py',
]
train_cfg = dict(max_iters=174000, val_interval=17400)
