# Stride 4, ResNet-50 (paper Table 3: J&F 74.1). The geometry is that of stt_r18_ytv_s4, and so is the
# smaller weight of the local term per query.
_base_ = '../stt_r50_ytv.py'
model = dict(
    backbone=dict(geometry='stride4'),
    radii=dict(res3=12, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
