# Paper Table 1, row 3: + local correlation distillation, every query (J&F 68.4).
_base_ = './table1_pyramid_r18.py'
model = dict(
    local_head=dict(
        type='LocalCorrelationHead',
        weight=1000.0,
        pooling='avg',
        selection=None,
        loss=dict(type='AffinityLoss', reduction='element'),
    )
)
