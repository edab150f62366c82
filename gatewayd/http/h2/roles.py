"""Code of its own for either role of the codec, so that each stays as fast as if there were no other.

CPython (3.11 and later, PEP 659) writes into a function's code where it found the attributes it last looked at, for one
type at a time. A proxy with HTTP/2 on both sides runs what the roles share for a server's connection and a client's in
turn, and nothing would ever be found where it was: two thirds more instructions per request.
"""

from __future__ import annotations

from types import FunctionType
from typing import Final, TypeVar

_OWN: Final = __name__.rpartition(".")[0] + "."
_Class = TypeVar("_Class", bound=type)


def own_code(role: _Class) -> _Class:
    """Give the class ``role`` copies of the functions that it inherits from this package."""
    for base in role.__mro__[1:]:
        if not base.__module__.startswith(_OWN):
            continue
        for name, function in vars(base).items():
            if isinstance(function, FunctionType) and name not in vars(role):
                copy = FunctionType(
                    function.__code__.replace(),  # without what was written into it
                    function.__globals__,
                    name,
                    function.__defaults__,
                    function.__closure__,
                )
                copy.__kwdefaults__ = function.__kwdefaults__
                copy.__doc__ = function.__doc__
                copy.__qualname__ = function.__qualname__
                setattr(role, name, copy)
    return role
