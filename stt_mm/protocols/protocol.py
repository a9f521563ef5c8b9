"""What a protocol states, from the frames of a video to its masks or points."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal

from stt_mm.errors import InputError
from stt_mm.utils.checks import checked_fields

# Largest side of a frame, in pixels: beyond it lies a slip of the keyboard, and no memory holds the frame.
_SIDE = 16384
# Smallest and largest value of each number.
_RANGES = dict(
    short_side=(1, _SIDE),
    long_side=(1, _SIDE),
    multiple=(1, _SIDE),
    stride=(1, 1024),
    num_context=(1, 10**9),
    radius=(0, 10**9),
    topk=(1, 10**9),
    # Below it the softmax leaves the range of float32; topk=1 lets the best pair alone vote.
    temperature=(1e-6, 10**9),
    components=(1, 10**9),
    sigma=(1e-3, 10**9),
    threshold=(0, 1),
    long_search=(1, 10**9),
    pad=(1, _SIDE),
    gain=(1e-6, 10**9),
    least_pixels=(1, 10**9),
    point_sigma=(1e-3, 10**9),
    point_topk=(1, 10**9),
    occlusion=(0, _SIDE),
    refine=(1, 64),
    refine_patch=(1, 64),
)


@dataclass(frozen=True)
class Protocol:
    """One way of evaluating features by label propagation; immutable, named and versioned.

    Args:
        name: ``<method>_<benchmark>_<variant>``.
        version: grows when a number changes.
        source: where the numbers are from.
        short_side: pixels the shorter side of a frame is resized to (aspect ratio kept); ``None``: native.
        size: (height, width) every frame is resized to, whatever its aspect ratio; not together with ``short_side``.
        multiple: sides are made multiples of this many pixels, which changes the aspect ratio, see ``rounding``.
        color: colours and normalisation: ``lab`` (L, a, b within about [-1, 1]), ``rgb`` (ImageNet statistics),
            ``rgb_dino`` (its deviation of red is 0.228), ``lightness`` (that of 8-bit Lab, as grey), ``network`` (what
            the backbone says of itself), or mean and deviation of R, G and B in [0, 1].
        stride: pixels per cell that the numbers below were chosen for; another one is reported.
        normalize: compare by cosine instead of dot product; ``relu``: the same of features whose negative values are 0.
        num_context: frames remembered besides the first.
        fixed: frames that stay in the memory, counted from the one that labels came with; 0 always does.
        lags: which of the remembered frames take part, 1 being the last one; ``None``: all of them.
        first_frame: how often the first frame stands in the memory. ``repeated``: once for itself and once while it is
            among the context frames; ``padded``: once for itself and once for each context frame that does not exist
            yet or is the first; ``once``.
        first_window: whether the window holds for the first frame's own copy too.
        window: shape of the window, ``None``: the whole frame.
        radius: half width of the window in cells.
        strict: whether cells at exactly the radius are outside.
        border: cells of the window outside of the frame are ``excluded``, or take part with features and labels of 0
            (``zero``).
        long_search: frames that are more than 15 frames old are searched in a window around where the query is found
            again among cells some way apart, so many of them in each direction (MAST); ``None``: as all others are.
        long_labels: their labels are read where the query is found in their ``own`` frame, or in the ``last`` of them.
        vote: which cells vote, see :class:`stt_mm.ops.Vote`; ``topk``: the best pairs of all memory frames together.
        topk: number of these pairs; of ``frame_topk`` in each frame.
        temperature: divides the correlations before the softmax over those that vote.
        ties: ``kept``: pairs as good as the last survivor vote as well.
        components, sigma, mass, threshold: of the vote ``compact``: Gaussians per frame, their width, the weight of
            their frame, and the least value that they replace.
        first_label: the given mask on the grid. ``nearest``: one-hot of the nearest pixel by pixel centres;
            ``nearest_twice``: the same by way of the network's input size; ``bilinear``: one-hot first, then bilinear;
            ``nearest_bilinear``: the same by way of the network's input size; ``floor_bilinear``: with the pixel
            floor(i * old / new) on that way (CRW's family); ``aligned``: as ``bilinear``, but that the centres of the
            corners stay where they are; ``corner``: one-hot of the first pixel of each cell, at the network's input
            size.
        feedback: masks enter the memory as the ``soft`` labels that were found, as these with each channel stretched to
            [0, 1] over the frame (``stretched``; results are read from them as well), or as the mask of the frame that
            they make, put on the grid like the first one (``hard``).
        pad: normalised frames, and masks, are padded with 0, to the right and below, to a multiple of this many pixels.
        output: size at which the channels are compared: that of the ``original`` frame, or of the network's ``input``,
            whose mask is then resized by nearest, or by the pixel floor(i * old / new) (``input_floor``).
        gain: factor of all channels but the background before they are compared.
        min_max: stretch each channel to [0, 1] over the frame before the arg-max.
        first_output: labels in the frame that they are given for: as ``given``; as resizing leaves them (``resized``):
            masks to the input size and back, points read back from their heat maps; read out from the ``grid`` like any
            other frame; or ``propagated``: the first frame comes once more, as the first that labels are carried to.
        points: codec of points, see ``stt_mm.ops.points``; ``None``: the protocol is for masks.
        long_side: pixels the longer side of a frame is resized to; not together with ``short_side`` or ``size``.
        rounding: which sides become multiples. ``longer``: the longer one is cut down (of a square the height);
            ``other``: the one that does not follow ``short_side`` or ``long_side`` is (of a square the width);
            ``up``: both are rounded up, the other one in proportion to the one rounded before.
        resize: filter of frames: OpenCV's ``bilinear``, which does not smooth, or Pillow's ``bicubic``, which smooths
            where it makes smaller and rounds to 8 bits.
        read_out: how channels come to the size of ``output``: ``bilinear``, rounded as PyTorch does or as ``opencv``;
            ``aligned``, as in ``first_label``; or the ``nearest`` cell, floor(i * h / H).
        least_pixels: objects with fewer in the given mask, at the network's input size, are left out.
        point_sigma: standard deviation of the Gaussian of a point, in pixels of the image or the input, or cells of the
            grid, as the codec has it; ``None``: its own.
        point_topk: number of largest values that a point is the weighted mean of; ``None``: as the codec has it.
        data_size: (height, width) of the copy of the data set that the numbers were made on; others are reported.
        occlusion: a point counts as hidden in a frame if what is most like it in the frame that it was given in, among
            all cells, lies more than so many pixels of the network's input from where it was given (forward-backward
            consistency); ``None``: where points are hidden is not asked.
        refine: points are looked for in the frames themselves, up to so many pixels of the network's input beside the
            place that their maps say, and beside the last one; ``None``: they are where their maps say.
        refine_from: what is looked for then: the patch around the point in the frame that it was ``given`` in, in the
            ``last`` frame, or ``both``.
        refine_patch: pixels to each side of the point that belong to a patch.
        changed: fields that differ from the preset of this name.

    Raises:
        ValueError: a value of another type than its annotation has, not finite, or out of range; the message names
            the field.
    """

    name: str
    version: int
    source: str
    short_side: int | None
    size: tuple[int, int] | None
    multiple: int
    color: (
        Literal['lab', 'rgb', 'rgb_dino', 'lightness', 'network']
        | tuple[tuple[float, float, float], tuple[float, float, float]]
    )
    stride: int
    normalize: bool | Literal['relu']
    num_context: int
    first_frame: Literal['repeated', 'padded', 'once']
    first_window: bool
    window: Literal['square', 'circle'] | None
    radius: float
    strict: bool
    topk: int
    temperature: float
    ties: Literal['cut', 'kept']
    first_label: Literal[
        'nearest', 'nearest_twice', 'bilinear', 'nearest_bilinear', 'floor_bilinear', 'aligned', 'corner'
    ]
    output: Literal['original', 'input', 'input_floor']
    min_max: bool
    first_output: Literal['given', 'resized', 'grid', 'propagated']
    points: Literal['image', 'grid', 'input'] | None
    fixed: tuple[int, ...] = (0,)
    lags: tuple[int, ...] | None = None
    border: Literal['excluded', 'zero'] = 'excluded'
    long_search: int | None = None
    long_labels: Literal['own', 'last'] = 'own'
    vote: Literal['topk', 'softmax', 'frame_softmax', 'frame_topk', 'compact'] = 'topk'
    components: int = 2
    sigma: float | None = None
    mass: Literal['share', 'equal', 'peak'] = 'share'
    threshold: float = 0.0
    feedback: Literal['soft', 'stretched', 'hard'] = 'soft'
    pad: int = 1
    gain: float = 1.0
    long_side: int | None = None
    rounding: Literal['longer', 'other', 'up'] = 'longer'
    resize: Literal['bilinear', 'bicubic'] = 'bilinear'
    read_out: Literal['bilinear', 'opencv', 'aligned', 'nearest'] = 'bilinear'
    least_pixels: int = 1
    point_sigma: float | None = None
    point_topk: int | None = None
    data_size: tuple[int, int] | None = None
    occlusion: float | None = None
    refine: int | None = None
    refine_from: Literal['given', 'last', 'both'] = 'both'
    refine_patch: int = 7
    changed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        owner = f'Protocol {self.name}'
        for field, value in checked_fields(self, owner).items():
            object.__setattr__(self, field, value)
        for field, (least, most) in _RANGES.items():
            value = getattr(self, field)
            if value is not None and not least <= value <= most:
                raise InputError(f'{owner}: {field} must be at least {least:g} and at most {most:g}, got {value}.')
        self._check_input(owner)
        self._check_memory(owner)
        self._check_window(owner)

    def _check_input(self, owner: str) -> None:
        sides = dict(short_side=self.short_side, long_side=self.long_side, size=self.size)
        given = {name: value for name, value in sides.items() if value is not None}
        if len(given) > 1:
            raise InputError(
                f'{owner}: give {" or ".join(given)}, not both; got {" and ".join(map(str, given.values()))}. Set '
                'one of them to None.'
            )
        if self.size is not None and not self.stride <= min(self.size) <= max(self.size) <= _SIDE:
            raise InputError(
                f'{owner}: size must be (height, width) of at least one cell of {self.stride} pixels and '
                f'at most {_SIDE}, got {self.size}.'
            )
        for name, side in given.items():
            if name != 'size' and side < self.stride:
                raise InputError(f'{owner}: {name} must be at least one cell of {self.stride} pixels, got {side}.')
        if self.rounding == 'longer' and self.long_side is not None:
            raise InputError(f"{owner}: long_side needs rounding='other' or 'up', got rounding='longer'.")
        if self.rounding == 'other' and self.short_side is None and self.long_side is None:
            raise InputError(f"{owner}: rounding='other' needs short_side or long_side, which the other side follows.")
        if self.data_size is not None and not 1 <= min(self.data_size) <= max(self.data_size) <= _SIDE:
            raise InputError(
                f'{owner}: data_size must be (height, width) of at most {_SIDE} pixels, got {self.data_size}.'
            )
        if not isinstance(self.color, str) and min(self.color[1]) <= 0:
            raise InputError(f'{owner}: the deviations of color must be above 0, got {self.color[1]}.')

    def _check_memory(self, owner: str) -> None:
        if 0 not in self.fixed or min(self.fixed) < 0:
            raise InputError(f'{owner}: fixed must be numbers of frames from 0, with 0 among them, got {self.fixed}.')
        if self.lags is not None and not (self.lags and 1 <= min(self.lags) <= max(self.lags) <= self.num_context):
            raise InputError(
                f'{owner}: lags must be numbers from 1 to {self.num_context}, the num_context, got {self.lags}.'
            )
        if self.pad > 1 and (self.short_side, self.long_side, self.size, self.multiple) != (None, None, None, 1):
            raise InputError(
                f'{owner}: only frames at their own size are padded; got pad={self.pad} with short_side='
                f'{self.short_side}, long_side={self.long_side}, size={self.size}, multiple={self.multiple}.'
            )

    def _check_window(self, owner: str) -> None:
        if self.ties == 'kept' and not self.first_window:
            raise InputError(
                f"{owner}: ties='kept' needs first_window=True: products of a window and of the whole frame differ by "
                'rounding, so that equal pairs would not be found.'
            )
        if self.strict and self.radius == 0:
            raise InputError(f'{owner}: a window of radius {self.radius}, strict={self.strict}, is empty.')

        square = self.window == 'square' and self.first_window
        if self.long_search is not None and (not square or self.vote == 'topk' or self.border != 'zero'):
            raise InputError(
                f"{owner}: long_search needs a square window for all frames, another vote than 'topk', and border="
                f"'zero', as it may end outside of the frame; got window={self.window!r}, first_window="
                f'{self.first_window}, vote={self.vote!r}, border={self.border!r}.'
            )
        if self.border == 'zero' and (self.window is None or not self.first_window):
            raise InputError(
                f"{owner}: border='zero' needs a window for all frames, got window={self.window!r}, first_window="
                f'{self.first_window}.'
            )
        if self.vote == 'compact' and self.window == 'circle':
            raise InputError(f"{owner}: vote='compact' needs a square window or none, got window={self.window!r}.")

    def __str__(self) -> str:
        changes = ', '.join(f'{field}={getattr(self, field)!r}' for field in self.changed)
        return f'{self.name} v{self.version}' + (f' changed: {changes}' if changes else '')

    def input_size(self, original: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the network's input for a frame of this (height, width)."""
        height, width = original
        if self.size is not None:
            return tuple(self.size)
        if self.rounding != 'longer':
            return self._with_other_side(height, width)
        if self.short_side is not None:
            scale = self.short_side / min(height, width)
            # The shorter side is exact; only the longer one is rounded.
            height, width = (int(side * scale + 0.5) for side in (height, width))
        if height < width:
            return height, max(width // self.multiple * self.multiple, self.multiple)
        return max(height // self.multiple * self.multiple, self.multiple), width

    def _with_other_side(self, height: int, width: int) -> tuple[int, int]:
        """One side as it is given, of a square the height; the other in proportion, a multiple."""
        given, multiple = self.short_side or self.long_side, self.multiple
        if given is None:
            return tuple(-(-side // multiple) * multiple for side in (height, width))
        first = height <= width if self.long_side is None else height >= width
        side, other = (height, width) if first else (width, height)
        # In whole numbers, so that no side is a multiple too short or too long by a rounding error.
        if self.rounding == 'up':
            given = -(-given // multiple) * multiple
            other = -(-other * given // (side * multiple)) * multiple
        else:
            other = max(other * given // side // multiple * multiple, multiple)
        return (given, other) if first else (other, given)

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of an input of this (height, width) with what it is padded with."""
        return tuple(-(-side // self.pad) * self.pad for side in size)

    def change(self, changes: Mapping[str, Any]) -> 'Protocol':
        """This protocol with some fields replaced; the copy keeps the name and tells which fields differ.

        Raises:
            ValueError: an unknown field, one that identifies the protocol, or a value that cannot be.
        """
        allowed = {field.name for field in fields(self)} - {'name', 'version', 'source', 'changed'}
        if unknown := set(changes) - allowed:
            raise InputError(
                f'Protocol {self.name} has no field {", ".join(sorted(unknown))} to change. Fields: '
                f'{", ".join(sorted(allowed))}.'
            )
        changed = replace(self, **changes)
        differing = {field for field in changes if getattr(changed, field) != getattr(self, field)}
        return replace(changed, changed=tuple(sorted({*self.changed, *differing})))

    @property
    def settings(self) -> dict[str, Any]:
        """What :func:`stt_mm.protocols.get_protocol` makes this protocol of: its name and the fields that differ."""
        return dict(name=self.name) | {field: _listed(getattr(self, field)) for field in self.changed}

    def record(self) -> dict[str, Any]:
        """All fields as plain data, for result files."""
        return {key: _listed(value) for key, value in asdict(self).items()}


def completed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a result file with the fields that protocols did not have when it was made."""
    later = {field.name: _listed(field.default) for field in fields(Protocol) if field.default is not MISSING}
    return later | dict(record)


def _listed(value: Any) -> Any:
    return list(map(_listed, value)) if isinstance(value, tuple) else value
