# Paper Table 1, row 1: frame reconstruction at res4 alone (J&F 64.9). Each row adds to the one before.
_base_ = [
    '../_base_/models/student_r18.py',
    '../_base_/datasets/youtube_vos.py',
    '../_base_/datasets/davis.py',
    '../_base_/schedules/adam_90k.py',
    '../_base_/default_runtime.py',
]
