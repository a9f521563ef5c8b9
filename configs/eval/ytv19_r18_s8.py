# YouTube-VOS 2019 valid: ResNet-18 at stride 8; DAVIS protocol of STT.
_base_ = [
    '../_base_/models/propagation_r18_s8.py',
    '../_base_/datasets/youtube_vos_valid_2019.py',
    '../_base_/default_runtime.py',
]
model = dict(propagator=dict(protocol=dict(name='stt_ytv_s8')))
