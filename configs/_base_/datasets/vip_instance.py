# VIP val: 50 videos, body parts as instances.
_base_ = './benchmark.py'
val_dataloader = dict(
    dataset=dict(type='VIP', data_root='{{$STT_DATA:data}}/VIP/VIP_Fine', labels='instance', split='val')
)
val_evaluator = dict(type='VIPInstanceMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
