# VIP val: 50 videos, body parts as instances.
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='LongestFirstSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='VIP', data_root='{{$STT_DATA:data}}/VIP/VIP_Fine', labels='instance', split='val'))
val_evaluator = dict(type='VIPInstanceMetric')
val_cfg = dict(type='ValLoop')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
