# The network of LIIR: that of MAST and a learned position map, as large as the stem's map of a 256 x 256 frame.
_base_ = './mast_r18.py'
model = dict(backbone=dict(position=dict(type='PositionMap', channels=64, size=(128, 128), kind='abs1d')))
