# The full method at the size of stt_r18_demo, with a student and a teacher from STT_STAGE1_R18, such as a checkpoint of
# configs/pretrain/mocov2_r18_demo.py.
_base_ = '../stt_r18_ytv.py'
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        _delete_=True,
        type='VideoFolder',
        data_root='demo/data/clips',
        clip_length=2,
        interval=(1, 2, 3),
        pipeline=[
            dict(type='LoadFrames'),
            dict(type='ClipRandomResizedCrop', size=(128, 128), area=(0.1, 0.6), aspect=(0.75, 1.5)),
            dict(type='ClipFlip', prob=0.5),
            dict(type='PackClip'),
        ],
    ),
)
model = dict(propagator=dict(protocol=dict(short_side=320)))
val_dataloader = dict(dataset=dict(data_root='demo/data/davis', max_frames=25))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False, begin=0, end=300, T_max=300),
]
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
