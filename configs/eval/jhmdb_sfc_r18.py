# JHMDB split 1: SFC's fine-grained ResNet-18, on whose zero padding see davis_sfc_r18.py. What SFC used for this is
# not known here: CRW's protocol, on whose code it builds.
_base_ = './jhmdb_crw_r18.py'
model = dict(backbone=dict(padding_mode='zeros'))
