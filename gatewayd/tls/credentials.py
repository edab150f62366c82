"""Where certificates come from: Secret documents, folders of secrets, and plain files (semantics 3.8 to 3.12).

A credential by name is looked for in this order, and the first place that has it counts:

1. Secret documents of the configuration, by namespace and name.
2. Each folder of secrets in turn (``--secrets``, else ``/etc/gatewayd/secrets``; then ``$CREDENTIALS_DIRECTORY``):

   - ``DIR/NAMESPACE/NAME/``: for that namespace alone;
   - ``DIR/NAME/``: for any namespace. In both the files are named as a Secret's keys: ``tls.crt``, ``tls.key``,
     ``ca.crt``, ``ca.crl``, ``tls.ocsp-staple``, or ``cert``, ``key``, ``cacert``, ``crl``;
   - flat files ``DIR/NAME.KEY`` or ``DIR/NAME_KEY``, such as ``shop.tls.crt`` or ``shop_tls.crt``, and ``shop.crt``
     with ``shop.key``; for any namespace. systemd's ``LoadCredential=shop.tls.crt:/path`` makes the first form,
     ``LoadCredential=shop:/folder`` the second.

A name never leads out of its folder: not by ``..``, not by a link. Paths that a Gateway names itself
(``serverCertificate``) are read as they are written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatewayd.tls.files import FileReader, check_name, real_folder, reason
from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.modes import MODES
from gatewayd.tls.spec import ClientTlsSpec, PairFiles, SecretName, ServerTlsSpec, Trust

if TYPE_CHECKING:  # see gatewayd/tls/__init__.py
    from gatewayd.tls.inspect import Leaf
    from gatewayd.tls.pem import PemChecks

#: Key of a Secret -> value.
Values = Mapping[str, bytes]

#: (certificate, key), the first complete pair wins (3.10).
_PAIRS: Final = (("cert", "key"), ("tls.crt", "tls.key"))
#: (authorities, revocation list) (3.11, 3.12).
_AUTHORITIES: Final = (("cacert", "crl"), ("ca.crt", "ca.crl"))
_STAPLE: Final = "tls.ocsp-staple"
KEYS: Final = ("cert", "key", "tls.crt", "tls.key", "cacert", "crl", "ca.crt", "ca.crl", _STAPLE)
#: Flat files below a folder: what follows the name -> the key it is.
_FLAT: Final = (
    *((f"{mark}{key}", key) for key in KEYS for mark in "._"),
    (".crt", "tls.crt"),
    (".key", "tls.key"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a spec's credentials came to."""

    material: Material
    #: the servers' or clients' own certificates, one per pair
    leaves: tuple[Leaf, ...]


class CredentialSource:
    """Turns specs into PEM. ``documents`` are the Secrets of the configuration, ``folders`` those of secrets."""

    def __init__(
        self, documents: Mapping[SecretName, Values] | None = None, folders: Sequence[str] = ()
    ) -> None:
        self.documents: Mapping[SecretName, Values] = documents or {}
        self.folders = tuple(folders)
        self._made: PemChecks | None = None
        self._files = FileReader()
        #: name -> its values, None when there is none, text when it cannot be read
        self._found: dict[SecretName, Values | str | None] = {}
        #: folder -> (without links, names in it), or None when it is not there
        self._listed: dict[str, tuple[str, frozenset[str]] | None] = {}

    def __repr__(self) -> str:
        return f"<CredentialSource {len(self.documents)} documents, folders {', '.join(self.folders)}>"

    def read_again(self) -> None:
        """From now on look at files anew; until then each is read once."""
        self._files.forget()
        self._found.clear()
        self._listed.clear()

    def settle(self) -> None:
        """All that is needed has been loaded: let go of what was kept to read each file once, keys included."""
        self.read_again()
        if self._made is not None:
            self._made.forget_unused()

    def load(self, spec: ServerTlsSpec | ClientTlsSpec) -> Loaded:
        """The PEM of ``spec``, checked. Raises MaterialError with the reason; it never holds key bytes."""
        pairs = _pairs(spec)
        made = [self._pair(pair) for pair in pairs]
        ca, crl = self._trust(spec.trust) if _needs_trust(spec) else (b"", b"")
        material = Material(pairs=tuple(pair for pair, _ in made), ca=ca, crl=crl, checked=True)
        return Loaded(material, tuple(leaf for _, leaf in made))

    def material(self, spec: ServerTlsSpec | ClientTlsSpec) -> Material:
        """:meth:`load`, without the facts."""
        return self.load(spec).material

    @property
    def _checks(self) -> PemChecks:
        if self._made is None:
            from gatewayd.tls.pem import PemChecks

            self._made = PemChecks()
        return self._made

    def _pair(self, source: SecretName | PairFiles) -> tuple[KeyPair, Leaf]:
        staple = b""
        if isinstance(source, PairFiles):
            source = _there(source)
            certificate = self._read(source.certificate)
            key = self._read(source.private_key)
        else:
            values = self._values(source)
            names = next((pair for pair in _PAIRS if values.get(pair[0]) and values.get(pair[1])), None)
            if names is None:
                raise MaterialError(_incomplete(source, values))
            certificate, key = values[names[0]], values[names[1]]
            staple = values.get(_STAPLE, b"")
        try:
            leaf = self._checks.pair(certificate, key)
            if staple:
                self._checks.staple(staple)
        except MaterialError as error:
            raise MaterialError(f"{_title(source)}: {error}") from None
        return KeyPair(certificate, key, staple), leaf

    def _trust(self, trust: Trust) -> tuple[bytes, bytes]:
        """(authorities, revocation lists): of the file, else of the first Secret that exists (3.11)."""
        ca = crl = b""
        if trust.file:
            title = next(filter(os.path.exists, (trust.file, *trust.otherwise)), trust.file)
            ca = self._read(title)
        elif trust.secrets:
            secret, values = self._first(trust.secrets)
            title = _title(secret)
            keys = next((keys for keys in _AUTHORITIES if values.get(keys[0])), None)
            if keys is None:
                raise MaterialError(f"{title} has neither cacert nor ca.crt")
            ca, crl = values[keys[0]], values.get(keys[1], b"")
        else:
            return b"", self._crl_file(trust)
        try:
            self._checks.authorities(ca)
            if crl:
                self._checks.revocation_lists(crl)
        except MaterialError as error:
            raise MaterialError(f"{title}: {error}") from None
        return ca, b"\n".join(filter(None, (crl, self._crl_file(trust))))

    def _crl_file(self, trust: Trust) -> bytes:
        if not trust.crl_file:
            return b""
        crl = self._read(trust.crl_file)
        try:
            self._checks.revocation_lists(crl)
        except MaterialError as error:
            raise MaterialError(f"{trust.crl_file}: {error}") from None
        return crl

    def _read(self, path: str) -> bytes:
        data = self._files.read(path)
        if not data.strip():
            raise MaterialError(f"{path} is empty")
        return data

    # By name

    def _first(self, names: Sequence[SecretName]) -> tuple[SecretName, Values]:
        for name in names:
            values = self._look_up(name)
            if values is not None:
                return name, values
        raise MaterialError(self._missing(names[-1]))

    def _values(self, name: SecretName) -> Values:
        values = self._look_up(name)
        if values is None:
            raise MaterialError(self._missing(name))
        return values

    def _missing(self, name: SecretName) -> str:
        where = f" and nothing of that name in {' or '.join(self.folders)}" if self.folders else ""
        return f'credential "{name}" does not exist: no Secret document{where}'

    def _look_up(self, name: SecretName) -> Values | None:
        """The values of a credential; None when it does not exist. Raises MaterialError when it cannot be read."""
        document = self.documents.get(name)
        if document is not None:
            return document
        if name not in self._found:
            try:
                self._found[name] = self._in_folders(name)
            except MaterialError as error:
                self._found[name] = str(error)
        found = self._found[name]
        if isinstance(found, str):
            raise MaterialError(found)
        return found

    def _in_folders(self, name: SecretName) -> Values | None:
        if not self.folders:
            return None
        check_name(name.name)
        unreadable = ""
        for folder in self.folders:
            try:
                root, entries = self._list(folder) or ("", frozenset())
            except MaterialError as error:
                unreadable = unreadable or str(error)  # it may well be in another one
                continue
            if not entries:
                continue
            if name.namespace in entries:
                check_name(name.namespace)
                outer = real_folder(root, f"{root}/{name.namespace}")
                own = real_folder(root, f"{outer}/{name.name}") if outer else ""
                if own:
                    return self._folder(root, own)
            if name.name in entries and (own := real_folder(root, f"{root}/{name.name}")):
                return self._folder(root, own)
            flat: dict[str, bytes] = {}
            for ending, key in _FLAT:
                if key not in flat and name.name + ending in entries:
                    flat[key] = self._files.read_below(root, root, name.name + ending)
            if flat:
                return flat
        if unreadable:
            raise MaterialError(f"{_title(name)}: {unreadable}")
        return None

    def _list(self, folder: str) -> tuple[str, frozenset[str]] | None:
        if folder not in self._listed:
            try:
                self._listed[folder] = os.path.realpath(folder), frozenset(os.listdir(folder))
            except FileNotFoundError:
                self._listed[folder] = None
            except (OSError, ValueError) as error:
                raise MaterialError(f"cannot read {folder!r}: {reason(error)}") from None
        return self._listed[folder]

    def _folder(self, root: str, folder: str) -> Values:
        """The files of one credential's folder; there may be none."""
        try:
            entries = set(os.listdir(folder))
        except OSError as error:
            raise MaterialError(f"cannot read {folder!r}: {reason(error)}") from None
        return {key: self._files.read_below(root, folder, key) for key in KEYS if key in entries}


def files_of(spec: ServerTlsSpec | ClientTlsSpec) -> Iterator[str]:
    """The paths that ``spec`` names itself."""
    for pair in _pairs(spec):
        files = pair if isinstance(pair, PairFiles) else None
        while files is not None:
            yield files.certificate
            yield files.private_key
            files = files.otherwise
    yield from filter(None, (spec.trust.file, *spec.trust.otherwise, spec.trust.crl_file))


def _pairs(spec: ServerTlsSpec | ClientTlsSpec) -> Sequence[SecretName | PairFiles]:
    if isinstance(spec, ServerTlsSpec):
        return spec.pairs
    return () if spec.pair is None else (spec.pair,)


def _there(files: PairFiles) -> PairFiles:
    """The first of several places whose certificate is there; the first of all if none is."""
    found: PairFiles | None = files
    while found is not None and not os.path.exists(found.certificate):
        found = found.otherwise
    return found or files


def _needs_trust(spec: ServerTlsSpec | ClientTlsSpec) -> bool:
    """Whether certificates of the other side are looked at."""
    if isinstance(spec, ServerTlsSpec):
        return MODES[spec.mode].client_certificate != "none"
    return not spec.insecure_skip_verify


def _title(source: SecretName | PairFiles) -> str:
    return f'credential "{source}"' if isinstance(source, SecretName) else str(source)


def _incomplete(name: SecretName, values: Values) -> str:
    """What of a pair is missing (3.10)."""
    for certificate, key in reversed(_PAIRS):
        for here, missing in ((certificate, key), (key, certificate)):
            if values.get(here):
                return f"{_title(name)} has {here} but no {missing}"
    return f"{_title(name)} has neither tls.crt and tls.key nor cert and key"
