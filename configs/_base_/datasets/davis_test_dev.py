# DAVIS-2017 test-dev: only the first masks are public, the others are written and not scored.
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='LongestFirstSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='DAVIS', data_root='{{$STT_DATA:data}}/DAVIS', year=2017, split='test-dev'))
val_evaluator = dict(type='DAVISMetric')
val_cfg = dict(type='ValLoop')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
