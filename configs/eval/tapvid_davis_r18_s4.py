# TAP-Vid DAVIS: ResNet-18 at stride 4 (average-pooled stem) under STT's protocol for points.
_base_ = './tapvid_davis_r18_s8.py'
model = dict(backbone=dict(geometry='stride4'), propagator=dict(protocol=dict(name='stt_tapvid_s4')))
