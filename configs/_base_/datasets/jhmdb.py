# JHMDB split 1: 268 test clips, 15 joints.
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='LongestFirstSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='JHMDB', data_root='{{$STT_DATA:data}}/JHMDB', split=1))
val_evaluator = dict(type='JHMDBMetric')
val_cfg = dict(type='ValLoop')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
