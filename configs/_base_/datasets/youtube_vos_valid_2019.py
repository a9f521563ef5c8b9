# YouTube-VOS 2019 valid: 507 videos; only the masks of first appearance are public.
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='LongestFirstSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='YouTubeVOSBenchmark', data_root='{{$STT_DATA:data}}/YouTubeVOS2019', year=2019, split='valid'))
val_evaluator = dict(type='YouTubeVOSMetric')
val_cfg = dict(type='ValLoop')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
