# Paper Table 1, row 2: + pyramid frame reconstruction (J&F 65.6).
_base_ = './table1_local_r18.py'
model = dict(local_head=None)
