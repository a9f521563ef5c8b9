# SFC's protocol for fine-grained correspondence alone (STT's Table 3: J&F 67.7, J 64.7, F 70.5; SFC's README 68.0), on
# the network of davis_vfs_r18: max-pool, layer3 at stride 1, zero padding. CRW, whose code SFC builds on, has reflect
# padding, but SFC's training (train.py, models/fine_grained.py) changes nothing of its ResNet except the strides of
# layer3 and layer4; in the code of HVC, which carries SFC's on, `crw` gets reflect padding and `fine-grained` none. Not
# confirmed by the file of SFC that builds the network for its test.
_base_ = './davis_vfs_r18.py'
model = dict(propagator=dict(protocol=dict(name='sfc_davis')))
