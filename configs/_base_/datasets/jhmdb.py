# JHMDB split 1: 268 test clips, 15 joints.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='JHMDB', data_root='{{$STT_DATA:data}}/JHMDB', split=1))
val_evaluator = dict(type='JHMDBMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
