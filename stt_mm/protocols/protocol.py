"""What a protocol states, from the frames of a video to its masks or joints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from stt_mm.errors import InputError

CHOICES = dict(
    color=('lab', 'rgb', 'rgb_dino'),
    first_frame=('repeated', 'padded', 'once'),
    window=('square', 'circle', None),
    ties=('cut', 'kept'),
    first_label=('nearest', 'nearest_twice', 'bilinear'),
    feedback=('soft', 'hard'),
    output=('original', 'input'),
    first_output=('given', 'resized'),
    keypoints=('stt', 'crw', None),
)


@dataclass(frozen=True)
class Protocol:
    """One way of evaluating features by label propagation; immutable, named and versioned.

    Args:
        name: ``<method>_<benchmark>_<variant>``.
        version: grows when a number changes.
        source: where the numbers are from.
        short_side: pixels the shorter side of a frame is resized to (bilinear, aspect ratio kept); ``None``: native.
        size: (height, width) every frame is resized to, whatever its aspect ratio; not together with ``short_side``.
        multiple: the longer side is cut down to a multiple of this many pixels, which changes the aspect ratio.
        color: colours and normalisation: ``lab`` (L, a, b within about [-1, 1]), ``rgb`` (ImageNet statistics),
            ``rgb_dino`` (its deviation of red is 0.228).
        stride: pixels per cell that the numbers below were chosen for; another one is reported.
        normalize: compare by cosine instead of dot product.
        num_context: frames remembered besides the first.
        first_frame: how often the first frame stands in the memory. ``repeated``: once for itself and once while it is
            among the context frames; ``padded``: once for itself and once for each context frame that does not exist
            yet or is the first; ``once``.
        first_window: whether the window holds for the first frame's own copy too.
        window: shape of the window, ``None``: the whole frame.
        radius: half width of the window in cells.
        strict: whether cells at exactly the radius are outside.
        topk: pairs that vote for each position, jointly over all memory frames.
        temperature: divides the correlations before the softmax over the survivors.
        ties: ``kept``: pairs as good as the last survivor vote as well.
        first_label: the given mask on the grid. ``nearest``: one-hot of the nearest pixel by pixel centres;
            ``nearest_twice``: the same by way of the network's input size; ``bilinear``: one-hot first, then bilinear.
        feedback: what enters the memory, the ``soft`` labels or the one-hot (``hard``) labels of the final mask.
        output: size at which the labels are compared: ``original``, or the network's ``input``, whose mask is then
            resized by nearest.
        min_max: stretch each channel to [0, 1] over the frame before the arg-max.
        first_output: the first frame's mask as ``given``, or ``resized`` to the input size and back.
        keypoints: codec of joints, see ``stt_mm.ops.keypoints``; ``None``: masks only.
        changed: fields that differ from the preset of this name.

    Raises:
        ValueError: a value that is out of range.
    """

    name: str
    version: int
    source: str
    short_side: int | None
    size: tuple[int, int] | None
    multiple: int
    color: Literal['lab', 'rgb', 'rgb_dino']
    stride: int
    normalize: bool
    num_context: int
    first_frame: Literal['repeated', 'padded', 'once']
    first_window: bool
    window: Literal['square', 'circle'] | None
    radius: float
    strict: bool
    topk: int
    temperature: float
    ties: Literal['cut', 'kept']
    first_label: Literal['nearest', 'nearest_twice', 'bilinear']
    feedback: Literal['soft', 'hard']
    output: Literal['original', 'input']
    min_max: bool
    first_output: Literal['given', 'resized']
    keypoints: Literal['stt', 'crw'] | None
    changed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise InputError(f'Protocol {self.name}: {field} must be one of {", ".join(map(repr, choices))}, got '
                                 f'{getattr(self, field)!r}.')
        positive = dict(short_side=self.short_side, multiple=self.multiple, stride=self.stride, topk=self.topk,
                        num_context=self.num_context, temperature=self.temperature)
        for field, value in positive.items():
            if value is not None and value <= 0:
                raise InputError(f'Protocol {self.name}: {field} must be positive, got {value}.')
        if self.short_side is not None and self.size is not None:
            raise InputError(f'Protocol {self.name}: give short_side or size, not both; got {self.short_side} and '
                             f'{tuple(self.size)}. Set one of them to None.')
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise InputError(f'Protocol {self.name}: size must be (height, width), got {self.size}.')
        if self.radius < 0 or (self.strict and self.radius == 0):
            raise InputError(f'Protocol {self.name}: a window of radius {self.radius}, strict={self.strict}, is empty.')

    def __str__(self) -> str:
        changes = ', '.join(f'{field}={getattr(self, field)!r}' for field in self.changed)
        return f'{self.name} v{self.version}' + (f' changed: {changes}' if changes else '')

    def input_size(self, original: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the network's input for a frame of this (height, width)."""
        height, width = original
        if self.size is not None:
            return tuple(self.size)
        if self.short_side is not None:
            scale = self.short_side / min(height, width)
            # The shorter side is exact; only the longer one is rounded.
            height, width = (int(side * scale + 0.5) for side in (height, width))
        if height < width:
            return height, max(width // self.multiple * self.multiple, self.multiple)
        return max(height // self.multiple * self.multiple, self.multiple), width

    def change(self, changes: Mapping[str, Any]) -> 'Protocol':
        """This protocol with some fields replaced; the copy keeps the name and tells which fields differ.

        Raises:
            ValueError: an unknown field, or one that identifies the protocol.
        """
        allowed = {field.name for field in fields(self)} - {'name', 'version', 'source', 'changed'}
        if unknown := set(changes) - allowed:
            raise InputError(f'Protocol {self.name} has no field {", ".join(sorted(unknown))} to change. Fields: '
                             f'{", ".join(sorted(allowed))}.')
        values = {field: tuple(value) if isinstance(value, list) else value for field, value in changes.items()}
        differing = tuple(sorted({*self.changed, *(f for f in values if values[f] != getattr(self, f))}))
        return replace(self, **values, changed=differing)

    def record(self) -> dict[str, Any]:
        """All fields as plain data, for result files."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
