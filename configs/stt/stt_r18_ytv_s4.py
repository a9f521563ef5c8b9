# Stride 4 (paper Table 3: J&F 73.6). The training geometry was never released; this one matches the released
# evaluation weights: average-pooled stem, res3 and res4 on one 64 x 64 grid, pseudo labels used without pooling, whose
# rows then sum to 1, not to 1/4. The local term is divided by the 4,096 positions of res4, 1,024 at stride 8: a query
# weighs a quarter of what it does there (1000 / 4,096 = 0.244). model.local_head.weight=4000 would undo that.
_base_ = '../stt_r18_ytv.py'
model = dict(
    backbone=dict(geometry='stride4'),
    radii=dict(res3=12, res4=12),
    propagator=dict(protocol=dict(name='stt_davis_s4')),
)
