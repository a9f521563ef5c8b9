# Paper Table 1, row 2: + pyramid frame reconstruction (J&F 65.6).
# changed keys: model.reconstruction_head.stages model.reconstruction_head.weights
_base_ = './table1_reconstruction_r18.py'
model = dict(reconstruction_head=dict(stages=('res3', 'res4'), weights=(1.0, 1.0)))
