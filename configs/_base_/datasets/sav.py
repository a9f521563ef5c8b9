# SA-V val: 155 videos at 24 frames per second, masks of every fourth frame, objects that may overlap.
_base_ = './benchmark.py'
val_dataloader = dict(dataset=dict(type='SAV', data_root='{{$STT_DATA:data}}/SA-V', split='val'))
val_evaluator = dict(type='ObjectVideoMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
