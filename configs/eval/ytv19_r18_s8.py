# YouTube-VOS 2019 valid, 507 videos: ResNet-18 at stride 8; DAVIS protocol of STT.
_base_ = './ytv_r18_s8.py'
val_dataloader = dict(dataset=dict(data_root='{{$STT_DATA:data}}/YouTubeVOS2019', year=2019))
test_dataloader = dict(dataset=dict(data_root='{{$STT_DATA:data}}/YouTubeVOS2019', year=2019))
