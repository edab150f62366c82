"""Kubernetes Secret: names and bytes that no message, repr or dump ever shows.

Values are kept in :class:`SecretData`, which nothing but :meth:`Secret.values` opens. What is wrong with one is
noted without saying what it is: the faults of a Secret are written here, not by the collector, which quotes.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from gatewayd.resources.faults import Fault
from gatewayd.resources.model import KubeModel, Sealed


class SecretData(Sealed):
    """The `data` or `stringData` of a Secret: key to bytes. Wrong values are left out and noted in `faults`."""

    __slots__ = ("_values", "faults")

    name = "data"

    def __init__(self, tree: Any = None) -> None:
        self.faults: list[Fault] = []
        self._values: dict[str, bytes] = {}
        if tree is None:
            return
        if not isinstance(tree, dict):
            message = f'"{self.name}" must be a mapping of names to values'
            self.faults.append(Fault((self.name,), message, "tls.crt, tls.key and ca.crt, for example"))
            return
        for key, value in tree.items():
            try:
                self._values[key] = b"" if value is None else self._read(value)
            except ValueError as error:
                self.faults.append(Fault((self.name, key), f'"{key[:253]}" {error}', self.help()))

    def help(self) -> str:
        """What is expected of a value."""
        return "`data` holds base64; plain text belongs into `stringData`"

    def _read(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise ValueError("must be base64 text")
        try:
            # Line ends are allowed, as Kubernetes allows them.
            return base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not valid base64") from None

    def reveal(self) -> dict[str, bytes]:
        """The values. Do not print them."""
        return dict(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretData) and self._values == other._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values))

    def __repr__(self) -> str:
        return f"<{len(self._values)} sealed values>"

    def __reduce__(self) -> Any:
        raise TypeError("secrets are not written down")


class SecretText(SecretData):
    """`stringData`: values as written."""

    __slots__ = ()

    name = "stringData"

    def help(self) -> str:
        """What is expected of a value."""
        return "put it in quotes, or after `|` when it has several lines"

    def _read(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise ValueError("must be text")
        return value.encode()


class Secret(KubeModel, frozen=True, kw_only=True):
    """A Secret document. Its `type` is not looked at (semantics 3.10)."""

    data: SecretData = SecretData()
    string_data: SecretText = SecretText()
    type: str = "Opaque"

    def values(self) -> dict[str, bytes]:
        """All values by key; `stringData` goes before `data`, as in Kubernetes. Do not print them."""
        return {**self.data.reveal(), **self.string_data.reveal()}
