# DAVIS-2017 test-dev: only the first masks are public, the others are written and not scored.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='DAVIS', data_root='{{$STT_DATA:data}}/DAVIS', year=2017, split='test-dev'))
val_evaluator = dict(type='DAVISMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
