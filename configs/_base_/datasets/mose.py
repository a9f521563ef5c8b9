# MOSE valid: 311 videos; only the masks of first frames are public.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='MOSE', data_root='{{$STT_DATA:data}}/MOSE', split='valid'))
val_evaluator = dict(type='ObjectVideoMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
