# DAVIS-2017 test-dev, of which only the first masks are public: masks and a zip for the server, ResNet-18 at stride 8
# under STT's protocol.
_base_ = './davis_r18_s8.py'
val_dataloader = dict(dataset=dict(split='test-dev'))
test_dataloader = dict(dataset=dict(split='test-dev'))
