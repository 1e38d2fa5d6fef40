"""Where workers are: what `worker.backend` says, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from worker_dispatcher.config.describe import Refused, got
from worker_dispatcher.config.spelling import nearest
from worker_dispatcher.named_tuple import NamedTuple
from worker_dispatcher.units import seconds_in

__all__ = ["Backend", "Security", "parsed"]

_WRITE = "write {'type': 'dask', 'address': 'tcp://host:8786'}, or leave 'address' out for a cluster of this machine"
_FILES = ("ca", "cert", "key")
_TIMEOUT = 30.0


class Security(NamedTuple):
    """Paths of PEM files: the certificate of whom to trust; our own, which the cluster asks for; and its key."""

    ca: str
    cert: str
    key: str


class Backend(NamedTuple):
    """A Dask cluster. address: of its scheduler, 'tcp://host:port' or 'tls://host:port'; None: one of this machine, for
    this run alone. security: for tls. client: a distributed.Client whose cluster is used, in the place of both.
    timeout: seconds within which the cluster must have a worker."""

    address: str | None = None
    security: Security | None = None
    client: Any = None
    timeout: float = _TIMEOUT

    @property
    def is_local(self) -> bool:
        """It is made for the run, on this machine."""
        return self.address is None and self.client is None


def parsed(value: object) -> Backend:
    """The cluster that a dict describes. Raises Refused."""
    if not isinstance(value, Mapping):
        raise Refused(f"must be 'local' or a dict, got {got(value)}; {_WRITE}")
    return _cluster(dict(value))


def _cluster(given: dict[Any, Any]) -> Backend:
    names = ("type", *Backend._fields)
    for name in given:
        if name not in names:
            found = nearest(str(name), names)
            hint = f"did you mean {found[0]!r}?" if found else f"it may have {', '.join(map(repr, names))}"
            raise Refused(f"has an unknown key {got(name)}; {hint}")
    if given.get("type") != "dask":
        raise Refused(f"must have 'type': 'dask', got {got(given.get('type'))}; {_WRITE}")
    client, address, security = given.get("client"), given.get("address"), given.get("security")
    if client is not None:
        if address is not None or security is not None:
            raise Refused("has a client, which knows its address and security; leave those out")
        if not hasattr(client, "scheduler") or not hasattr(client, "security"):
            raise Refused(f"must have a distributed.Client as 'client', got {got(client)}")
    files = None if security is None else _security(security)
    return Backend(_address(address, files), files, client, _timeout(given.get("timeout", _TIMEOUT)))


def _address(address: object, security: Security | None) -> str | None:
    if address is None:
        if security is not None:
            raise Refused("has security without an address; a cluster of this machine makes its own certificates")
        return None
    if not isinstance(address, str):
        raise Refused(f"must have an address such as 'tcp://host:8786', got {got(address)}")
    from urllib.parse import urlsplit  # 2 ms, for clusters only

    text = address if "://" in address else f"tcp://{address}"
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("tcp", "tls") and bool(parts.hostname) and parts.port is not None
    except ValueError:  # a port that is no number
        known = False
    if not known:
        raise Refused(f"must have an address such as 'tcp://host:8786' or 'tls://host:8786', got {got(address)}")
    if (parts.scheme == "tls") != (security is not None):
        missing = "add 'security': {'ca': path, 'cert': path, 'key': path}" if security is None else "write 'tls://...'"
        raise Refused(f"must have security with a tls address, and only there, got {got(address)}; {missing}")
    return text


def _security(given: object) -> Security:
    write = "write {'ca': path, 'cert': path, 'key': path}"
    if isinstance(given, Security):
        return given
    if not isinstance(given, Mapping) or set(given) != set(_FILES):
        raise Refused(f"must have three paths as its security, got {got(given)}; {write}")
    paths = []
    for name in _FILES:
        found = os.fspath(given[name]) if isinstance(given[name], str | os.PathLike) else None
        if not isinstance(found, str) or not os.path.isfile(found):
            raise Refused(f"must have a file as its security {name!r}, and there is none: {got(given[name])}")
        paths.append(found)
    return Security(*paths)


def _timeout(given: object) -> float:
    value = seconds_in(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise Refused(f"must have a timeout in seconds above 0, got {got(given)}")
    return float(value)
