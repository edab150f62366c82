"""Base classes and scalar types of the models.

One definition of a kind serves three readers: `msgspec.convert` (the fast way from a plain tree to typed
structs), the collector in `collect.py` (every problem of a bad document), and the JSON Schema for editors.
"""

from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from gatewayd.resources.durations import EXPECTED, parse_duration


class IstioModel(Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A message of an Istio kind: a field it does not know is an error (semantics 19.9).

    `gc=False` is safe: these trees are built bottom up from parsed text and hold no cycles.
    """


class KubeModel(Struct, rename="camel", frozen=True, kw_only=True, gc=False):
    """A message of a Kubernetes kind: the fields gatewayd uses are typed, others are the platform's."""


class Seconds(float):
    """A duration in seconds, written as text with a unit (`1.5s`)."""

    __slots__ = ()


class Sealed:
    """A value made from any tree that must not be quoted; a subclass notes what is wrong with it itself."""

    __slots__ = ()

    def __init__(self, tree: Any = None) -> None:
        raise NotImplementedError  # abstract: only subclasses are made


class _Empty(dict[Any, Any]):
    """The one empty mapping behind every map field left out: it cannot be filled by accident."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("models are frozen")


# Ten thousand VirtualServices leave out half a million maps: sharing one keeps 30 MB.
EMPTY: dict[Any, Any] = _Empty()

UInt32 = Annotated[int, Meta(ge=0, le=4_294_967_295)]
UInt64 = Annotated[int, Meta(ge=0)]  # msgspec has no bounds beyond int64
Int32 = Annotated[int, Meta(ge=-2_147_483_648, le=2_147_483_647)]
NonNegInt32 = Annotated[int, Meta(ge=0, le=2_147_483_647)]
PortNumber = Annotated[int, Meta(ge=1, le=65_535)]

T = TypeVar("T")


class Leniencies:
    """Counts values that were accepted although strictly they are written wrongly.

    The decoder looks at `count` after a conversion: when it moved, it walks the document to say where.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


LENIENCIES = Leniencies()


def decode_hook(cls: type[T], value: Any) -> T:
    """Convert `value` to one of our scalar types; ValueError or TypeError says what was expected."""
    if cls is Seconds:
        return seconds_of(value)  # type: ignore[return-value]  # T is Seconds here
    if issubclass(cls, Sealed):
        return cls(value)
    raise NotImplementedError(cls)


def seconds_of(value: Any) -> Seconds:
    """Read a duration. A bare number means seconds (`timeout: 10` in old documents): accepted, counted."""
    if isinstance(value, str):
        return Seconds(parse_duration(value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= 315_576_000_000:  # also refuses NaN
            raise ValueError(f"{value} is not a duration: {EXPECTED}")
        LENIENCIES.count += 1
        return Seconds(value)
    raise ValueError(f"this is not a duration: {EXPECTED}")
