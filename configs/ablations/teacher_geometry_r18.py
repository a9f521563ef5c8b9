# Difference 20: the teacher has the geometry of the student.
_base_ = '../stt_r18_ytv.py'
model = dict(teacher=dict(backbone=dict(geometry='stride8')))
