# STT, ResNet-50, stride 8: the full method (paper Table 3: J&F 71.3 on DAVIS-2017 val). 4 GPUs x 16 clips.
_base_ = [
    './_base_/models/stt_r50.py',
    './_base_/datasets/youtube_vos.py',
    './_base_/datasets/davis.py',
    './_base_/schedules/adam_45k.py',
    './_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=16)
