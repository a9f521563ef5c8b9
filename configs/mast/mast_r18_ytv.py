# MAST, ResNet-18, from scratch: J&F 65.5 on DAVIS-2017 val in its paper. 2 GPUs x 6 pairs, 20 epochs of the released
# code.
_base_ = [
    '../_base_/models/mast_r18_pairs.py',
    '../_base_/datasets/youtube_vos_pairs.py',
    '../_base_/datasets/davis.py',
    '../_base_/schedules/adam_pairs.py',
    '../_base_/default_runtime.py',
]
