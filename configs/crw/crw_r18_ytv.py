# Contrastive random walk (CRW), ResNet-18, from scratch. The paper has J&F 67.6 on DAVIS-2017 val, after training on
# Kinetics-400; here it is YouTube-VOS. 20 clips of 4 frames per step, over all processes.
_base_ = [
    '../_base_/datasets/youtube_vos.py',
    '../_base_/datasets/davis.py',
    '../_base_/schedules/adam_90k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='ContrastiveRandomWalk',
    data_preprocessor=dict(type='ClipDataPreprocessor', student_color='rgb', dropout=None),
    backbone=dict(
        type='CorrespondenceResNet',
        depth=18,
        geometry='stride8_maxpool',
        out_indices=(2, 3),
        padding_mode='reflect',
    ),
    in_channels=512,
    channels=128,
    # 49 patches of 64 x 64 at stride 32.
    grid=7,
    crop_area=(0.7, 0.9),
    temperature=0.05,
    edge_dropout=0.1,
    propagator=dict(type='LabelPropagator', protocol=dict(name='crw_davis')),
    feature_stage='res4',
)
train_dataloader = dict(
    batch_size=20,
    dataset=dict(
        clip_length=4,
        pipeline=[
            dict(type='LoadFrames'),
            dict(type='ClipRandomResizedCrop', size=(256, 256), area=(0.8, 0.95), aspect=(1.5, 2.0)),
            dict(type='PackClip'),
        ],
    ),
)
# An epoch of the released code takes 5 clips of each video: 3,471 videos * 5 / 20 = 868 iterations. It trains for 25
# epochs; the rate falls at epochs 20, 30 and 40, of which only the first is reached.
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[17360, 26040, 34720], gamma=0.3)]
train_cfg = dict(max_iters=21700, val_interval=5000)
auto_scale_lr = dict(base_batch_size=20)
