# VFS's protocol for ResNet-50: an open disc of radius 18.
_base_ = './davis_vfs_r18.py'
model = dict(backbone=dict(depth=50), propagator=dict(protocol=dict(name='vfs_davis_r50')))
