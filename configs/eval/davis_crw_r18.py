# CRW's protocol: native frames, the first frame padded into the memory and searched without a window.
_base_ = './davis_vfs_r18.py'
model = dict(backbone=dict(padding_mode='reflect'), propagator=dict(protocol=dict(name='crw_davis')))
