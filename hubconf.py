"""Networks for ``torch.hub.load(FOLDER, NAME, source='local')``, where ``FOLDER`` is a checkout."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stt_mm.models import Correspondence

dependencies = ['torch', 'mmengine', 'numpy', 'cv2', 'av', 'PIL', 'safetensors', 'simplejpeg']


def stt_r18_demo(device: str | None = None) -> 'Correspondence':
    """STT's ResNet-18 at stride 8, trained on 93 short videos; see :func:`stt_mm.apis.load`."""
    from stt_mm.apis import load

    return load('stt_r18_demo', device=device)
