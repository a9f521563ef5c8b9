"""Published protocols that vary those of VFS, CRW and DINO."""

from dataclasses import replace

from stt_mm.protocols.protocol import Protocol

_DAVIS_COPY = (480, 880)
# Short side of the frames by patch: S, M and L.
_DINOV3_SIDES = {16: (480, 960, 1440), 14: (420, 840, 1260)}


def variations(vfs: Protocol, crw: Protocol, dino: Protocol) -> tuple[Protocol, ...]:
    """The presets of DINOv3, V-JEPA 2.1, CropMAE, RSP, DIFT, UVC, TimeCycle and DUL."""
    dinov3 = replace(
        vfs,
        name='dinov3',
        source='DINOv3, segmentation_tracking.ipynb; the sizes from its paper',
        rounding='up',
        resize='bicubic',
        num_context=7,
        first_frame='once',
        strict=False,
        topk=5,
        temperature=0.2,
        ties='kept',
        read_out='nearest',
    )
    cropmae = replace(
        crw,
        name='cropmae_davis',
        source='CropMAE, downstreams/propagation, which T-CoRe shares',
        stride=16,
        radius=20,
        topk=7,
        temperature=0.7,
        first_label='floor_bilinear',
        read_out='opencv',
        output='input_floor',
        first_output='grid',
        data_size=_DAVIS_COPY,
    )
    cropmae_jhmdb = dict(size=(320, 320), points='grid', point_sigma=0.5, point_topk=5, data_size=None)
    rsp = replace(
        dino,
        name='rsp_davis',
        source='RSP, README and eval_video_segmentation_davis.py',
        rounding='other',
        num_context=30,
        radius=30,
        topk=7,
        data_size=_DAVIS_COPY,
    )
    dift = replace(
        dino,
        name='dift_sd_davis',
        source='DIFT, README and eval_davis.py, Stable Diffusion',
        multiple=32,
        rounding='other',
        color=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        stride=8,
        num_context=28,
        radius=15,
        topk=15,
        temperature=0.2,
    )
    uvc = replace(
        dino,
        name='uvc_davis',
        source='UVC, README and test.py',
        rounding='other',
        color='lightness',
        stride=8,
        normalize=False,
        window=None,
        radius=0,
        temperature=1.0,
        vote='frame_topk',
    )
    timecycle = replace(
        uvc,
        name='timecycle_davis',
        source='TimeCycle, test_davis.py and its README; frames of 480 x 480 as in its paper',
        short_side=None,
        size=(480, 480),
        multiple=1,
        rounding='longer',
        color='rgb',
        normalize='relu',
        first_frame='padded',
        topk=20,
        temperature=512**-0.5,
        ties='cut',
        first_label='nearest_bilinear',
        read_out='opencv',
        min_max=False,
        first_output='propagated',
        feedback='stretched',
        least_pixels=12,
    )
    uvc_jhmdb = dict(
        size=(320, 320),
        color='lightness',
        normalize=False,
        temperature=1.0,
        least_pixels=1,
        points='grid',
        point_sigma=0.5,
        point_topk=5,
    )
    return (
        *(
            replace(
                dinov3,
                name=f'dinov3_{data}_{size}{"" if patch == 16 else "_p14"}',
                short_side=side,
                multiple=patch,
                stride=patch,
            )
            for data in ('davis', 'ytv', 'mose')
            for patch, sides in _DINOV3_SIDES.items()
            for size, side in zip('sml', sides, strict=True)
        ),
        replace(
            dinov3,
            name='vjepa21_davis',
            source='V-JEPA 2.1, paper, Section 3.6; what it leaves open as in DINOv3',
            short_side=480,
            multiple=16,
            stride=16,
            num_context=15,
        ),
        cropmae,
        replace(
            cropmae,
            name='cropmae_vip',
            long_side=880,
            multiple=64,
            rounding='other',
            topk=10,
            output='input',
            data_size=None,
        ),
        replace(cropmae, name='cropmae_jhmdb', **cropmae_jhmdb),
        rsp,
        dift,
        replace(dift, name='dift_adm_davis', source='DIFT, README and eval_davis.py, ADM', topk=10, temperature=0.1),
        uvc,
        replace(
            uvc,
            name='uvc_vip',
            source='UVC, README and test_mask_vip.py',
            short_side=None,
            size=(560, 560),
            multiple=1,
            rounding='longer',
            num_context=1,
        ),
        replace(timecycle, name='uvc_jhmdb', source='UVC, README and test_jhmdb.py of its branch jhmdb', **uvc_jhmdb),
        timecycle,
        replace(
            crw,
            name='dul_davis',
            source='DUL, infer_vos.py and its configs',
            first_label='aligned',
            read_out='aligned',
            first_output='grid',
        ),
    )
