# Temporal stage alone at stride 4 (paper: J&F 72.5). The geometry is that of stt_r18_ytv_s4.
_base_ = './stt_r18_ytv_temporal.py'
model = dict(
    backbone=dict(geometry='stride4'),
    radii=dict(res3=12, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
