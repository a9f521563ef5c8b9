# Stride 4 with the pyramid kept: res3 on 128 x 128, res4 on 64 x 64. Neither this nor stt_r18_ytv_s4 is confirmed by
# the authors. As there, the local term is divided by 4,096 positions: a query weighs a quarter of what it does at
# stride 8. Evaluation: eval/davis_r18_s4_128; the other configs for stride 4 have another geometry.
_base_ = '../stt_r18_ytv.py'
model = dict(
    backbone=dict(geometry='stride4_pyramid'),
    radii=dict(res3=24, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
