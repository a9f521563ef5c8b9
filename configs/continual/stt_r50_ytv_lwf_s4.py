# Learning without forgetting (a reconstruction) at stride 4; no row in the paper. Geometry of stt_r18_ytv_s4.
_base_ = './stt_r50_ytv_lwf.py'
model = dict(
    backbone=dict(geometry='stride4'),
    radii=dict(res3=12, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
