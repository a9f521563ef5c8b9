# VFS's protocol: ResNet-18 with max pool, RGB, an open disc of radius 12.
_base_ = './davis_r18_s8.py'
model = dict(backbone=dict(geometry='stride8_maxpool'), propagator=dict(protocol=dict(name='vfs_davis_r18')))
