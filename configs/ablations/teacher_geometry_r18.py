# Difference 20: the teacher has the geometry of the student.
_base_ = '../stt_r18_ytv.py'
# changed keys: model.teacher.backbone.pool model.teacher.backbone.strides
model = dict(teacher=dict(backbone=dict(pool='none', strides=(1, 2, 2, 4))))
