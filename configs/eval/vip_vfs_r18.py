# VIP val: VFS's ResNet-18 with max pool, on RGB. VFS released no settings for this benchmark: those of STT, whose
# test code is a copy of VFS's, with VFS's open disc in place of STT's square.
_base_ = './vip_r18_s8.py'
model = dict(
    backbone=dict(geometry='stride8_maxpool'),
    propagator=dict(protocol=dict(color='rgb', window='circle', strict=True)),
)
