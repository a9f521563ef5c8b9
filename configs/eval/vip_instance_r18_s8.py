# VIP val, parts as instances: ResNet-18 at stride 8 under STT's protocol.
_base_ = './vip_r18_s8.py'
val_dataloader = dict(dataset=dict(labels='instance'))
val_evaluator = dict(type='VIPInstanceMetric')
test_dataloader = dict(dataset=dict(labels='instance'))
test_evaluator = dict(type='VIPInstanceMetric')
