# LIIR before it sees other videos: the training of MAST on its network. Cells outside the frame take no part; the
# temperature is 16, the root of the 256 channels.
_base_ = ['./mast_r18_pairs.py']
model = dict(
    backbone=dict(
        projection=None,
        out_indices=(3,),
        position=dict(type='PositionMap', channels=64, size=(128, 128), kind='abs1d'),
    ),
    radii=dict(_delete_=True, res5=6),
    border='excluded',
    reconstruction_head=dict(stages=('res5',)),
    propagator=dict(protocol=dict(name='liir_davis', _delete_=True)),
    feature_stage='res5',
)
