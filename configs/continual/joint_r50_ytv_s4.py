# Joint learning at stride 4; no row in the paper. The geometry is that of stt_r18_ytv_s4.
_base_ = './joint_r50_ytv.py'
model = dict(
    backbone=dict(geometry='stride4'),
    radii=dict(res3=12, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
