# The network of LIIR: that of MAST with a learned position map, as large as the stem's map of a 256 x 256 frame. Its
# last stage is compared as it is.
_base_ = './mast_r18.py'
model = dict(
    backbone=dict(
        projection=None,
        out_indices=(3,),
        position=dict(type='PositionMap', channels=64, size=(128, 128), kind='abs1d'),
    ),
    feature_stage='res5',
)
