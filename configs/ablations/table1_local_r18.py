# Paper Table 1, row 3: + local correlation distillation, every query (J&F 68.4).
_base_ = './table1_selection_r18.py'
model = dict(local_head=dict(selection=None))
