# DenseCL, ResNet-18, 200 epochs of ImageNet, 8 processes x 32 images; not in the paper. MoCo v2 and, with the same
# weight, the same loss between the most similar cells of the two views; widths as MoCo v2's.
_base_ = './mocov2_r18_in1k.py'
model = dict(
    type='mmpretrain.DenseCL',
    loss_lambda=0.5,
    neck=dict(
        _delete_=True, type='mmpretrain.DenseCLNeck', in_channels=512, hid_channels=512, out_channels=128, num_grid=None
    ),
)
