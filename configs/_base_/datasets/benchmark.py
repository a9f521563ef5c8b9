# How whole videos are loaded and scored; a benchmark adds its data set and its metric.
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=False,
    sampler=dict(type='LongestFirstSampler'),
    collate_fn=dict(type='pseudo_collate'),
)
val_cfg = dict(type='ValLoop')

test_dataloader = val_dataloader
test_cfg = dict(type='TestLoop')
