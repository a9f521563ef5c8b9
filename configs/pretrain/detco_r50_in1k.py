# DetCo, ResNet-50, 200 epochs of ImageNet, 8 processes x 32 images (STT, "spatial only": J&F 66.5).
_base_ = './detco_r18_in1k.py'
model = dict(backbone=dict(depth=50), neck=dict(in_channels=(256, 512, 1024, 2048)))
val_cfg = dict(model=dict(backbone=dict(depth=50)))
