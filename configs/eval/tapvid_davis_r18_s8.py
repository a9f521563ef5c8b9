# TAP-Vid DAVIS: ResNet-18 at stride 8 under STT's protocol for points.
_base_ = [
    '../_base_/models/propagation_r18_s8.py',
    '../_base_/datasets/tapvid_davis.py',
    '../_base_/default_runtime.py',
]
model = dict(propagator=dict(protocol=dict(name='stt_tapvid_s8')))
