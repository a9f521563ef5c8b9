# STT and LIIR at once at stride 4, in the geometry of stt_r18_ytv_s4.py.
_base_ = './stt_liir_r18_ytv.py'
model = dict(
    backbone=dict(geometry='stride4'),
    radii=dict(res3=12, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
