# VIP val: 50 videos, body parts as categories.
_base_ = './benchmark.py'
val_dataloader = dict(
    dataset=dict(type='VIP', data_root='{{$STT_DATA:data}}/VIP/VIP_Fine', labels='category', split='val')
)
val_evaluator = dict(type='VIPMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
