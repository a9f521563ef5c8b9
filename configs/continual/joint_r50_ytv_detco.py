# Joint learning from images and videos with DetCo, as in the other rows of Table 2, as the image branch (paper Table 2,
# row "Spatiotemporal": J&F 68.6). As joint_r50_ytv, but the images are learned from at every stage.
_base_ = './joint_r50_ytv.py'
model = dict(
    backbone=dict(out_indices=(0, 1, 2, 3)),
    image_stages=('res2', 'res3', 'res4', 'res5'),
    # As in pretrain/detco_r50_in1k.py.
    image_branch=dict(
        _delete_=True,
        type='DetCo',
        queue_len=65536,
        momentum=0.001,
        stage_weights=(0.1, 0.4, 0.7, 1.0),
        normalize=False,
        data_preprocessor=dict(
            type='mmpretrain.SelfSupDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            to_rgb=True,
            non_blocking=True,
        ),
        neck=dict(type='DetCoNeck', in_channels=(256, 512, 1024, 2048), out_channels=128),
        head=dict(type='mmpretrain.ContrastiveHead', loss=dict(type='mmpretrain.CrossEntropyLoss'), temperature=0.2),
    ),
)
train_cfg = dict(image_dataloader=dict(dataset=dict(pipeline=_base_.detco_pipeline)))
