# STT, ResNet-18, stride 8: the full method (paper Table 3: J&F 70.7 on DAVIS-2017 val). 4 GPUs x 32 clips.
_base_ = [
    './_base_/models/stt_r18.py',
    './_base_/datasets/youtube_vos.py',
    './_base_/datasets/davis.py',
    './_base_/schedules/adam_90k.py',
    './_base_/default_runtime.py',
]
