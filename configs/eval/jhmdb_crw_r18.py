# CRW's protocol for JHMDB.
_base_ = './jhmdb_r18_s8.py'
model = dict(
    backbone=dict(geometry='stride8_maxpool', padding_mode='reflect'),
    propagator=dict(protocol=dict(name='crw_jhmdb')),
)
