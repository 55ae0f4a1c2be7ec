"""Settings: the environment and the command line's flags, read once into a frozen object.

    settings = Settings.read(os.environ, data_dir="./studio-data", port=7860)

Everything the application keeps lies under one data directory:

    studio.db           SQLite database (unless STUDIO_DB_URL names another)
    features.db         hidden states of every answer, content-addressed
    backbones/          converted backbones
    checkpoints/run-N/  what run N trained
    logs/run-N.log      what run N printed
    tensorboard/run-N/  the curves of run N, for TensorBoard
    backups/            the database before each upgrade
    server.lock         who serves this directory
    directory.id        tells this directory from others: a database belongs to one
    session.key         signs the cookies of those who are signed in (unless STUDIO_SESSION_SECRET)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studio.network import Addresses, parse_networks, split_list
from studio.services.errors import StudioError, UsageError

DEFAULT_DATA_DIR = "./studio-data"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 7860
DEFAULT_BACKBONE = "embedded"
DEVICES = "auto, cpu, cuda or cuda:N"


@dataclass(frozen=True)
class Settings:
    """What the whole application agrees on; nobody else reads the environment."""

    data_dir: Path
    db_url: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    backbone: str = DEFAULT_BACKBONE
    device: str = "auto"
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[Addresses, ...] = ()
    session_secret: str | None = field(default=None, repr=False)
    features_max_gb: float | None = None

    @classmethod
    def read(cls, environ: Mapping[str, str], **flags: Any) -> Settings:
        """A flag wins over its variable (STUDIO_DATA_DIR, ...), which wins over the default."""
        named = _choose(flags, environ, "data_dir", DEFAULT_DATA_DIR)
        data_dir = Path(named).expanduser().resolve()
        device = str(_choose(flags, environ, "device", "auto"))
        if device not in {"auto", "cpu", "cuda"} and not _is_numbered_cuda(device):
            raise UsageError(f"unknown device {device!r}: use {DEVICES}.")
        return cls(
            data_dir=data_dir,
            db_url=environ.get("STUDIO_DB_URL") or f"sqlite:///{data_dir / 'studio.db'}",
            host=str(_choose(flags, environ, "host", DEFAULT_HOST)),
            port=_port(_choose(flags, environ, "port", DEFAULT_PORT)),
            backbone=_backbone(_choose(flags, environ, "backbone", DEFAULT_BACKBONE)),
            device=device,
            public_url=_public_url(_choose(flags, environ, "public_url", None)),
            allowed_hosts=_hosts(environ.get("STUDIO_ALLOWED_HOSTS", "")),
            trusted_proxies=_proxies(_choose(flags, environ, "trusted_proxy", "")),
            session_secret=environ.get("STUDIO_SESSION_SECRET") or None,
            features_max_gb=_gigabytes(environ.get("STUDIO_FEATURES_MAX_GB")),
        )

    def as_environment(self) -> dict[str, str]:
        """The variables from which a child process reads the same settings.

        Not command-line arguments: those are visible to every user of the machine, and the
        database's address may hold a password.
        """
        limit = self.features_max_gb
        return {
            "STUDIO_DATA_DIR": str(self.data_dir),
            "STUDIO_DB_URL": self.db_url,
            "STUDIO_BACKBONE": self.backbone,
            "STUDIO_DEVICE": self.device,
            "STUDIO_FEATURES_MAX_GB": "" if limit is None else str(limit),
        }

    @property
    def features_path(self) -> Path:
        return self.data_dir / "features.db"

    @property
    def backbones_dir(self) -> Path:
        return self.data_dir / "backbones"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def backups_dir(self) -> Path:
        return self.data_dir / "backups"

    @property
    def lock_path(self) -> Path:
        return self.data_dir / "server.lock"

    @property
    def id_path(self) -> Path:
        return self.data_dir / "directory.id"

    @property
    def tensorboard_dir(self) -> Path:
        return self.data_dir / "tensorboard"

    def log_path(self, run_id: int) -> Path:
        return self.logs_dir / f"run-{run_id}.log"

    def create_directories(self) -> None:
        """Make the data directory usable, or say in one sentence why it is not."""
        try:
            for directory in (self.backbones_dir, self.checkpoints_dir, self.logs_dir):
                directory.mkdir(parents=True, exist_ok=True)
            probe = self.data_dir / ".write-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            raise StudioError(
                f"the data directory {str(self.data_dir)!r} cannot be written ({reason}): "
                "make it writable, or name another with --data-dir."
            ) from error


def _choose(flags: Mapping[str, Any], environ: Mapping[str, str], name: str, default: Any) -> Any:
    flag = flags.get(name)
    if flag is not None:
        # A script's unset variable: "" would mean the current directory.
        if flag == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty: give a value, or leave it out.")
        return flag
    return environ.get(f"STUDIO_{name.upper()}") or default


def _backbone(value: Any) -> str:
    """A backbone on disk is kept by its absolute path: the next command may run elsewhere."""
    path = Path(value).expanduser()
    is_on_disk = value != DEFAULT_BACKBONE and path.exists()
    return str(path.resolve()) if is_on_disk else str(value)


def _public_url(value: Any) -> str | None:
    """The address that people type, such as https://studio.example.org; no path of its own."""
    if value is None:
        return None
    parts = urlsplit(str(value))
    try:
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    is_bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not is_address or not is_bare:
        raise UsageError(
            f"--public-url {str(value)!r} is not such an address: use https://HOST or "
            "https://HOST:PORT, without a path (the studio wants a host name of its own)."
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _hosts(value: str) -> tuple[str, ...]:
    names = tuple(split_list(value))
    for name in names:
        if any(mark in name for mark in "/@* "):
            raise UsageError(
                f"STUDIO_ALLOWED_HOSTS names {name!r}: give host names separated by commas, "
                "without scheme, path or wildcard."
            )
    # A port says nothing about who is meant.
    return tuple(urlsplit(f"//{name}").hostname or name for name in names)


def _proxies(value: Any) -> tuple[Addresses, ...]:
    try:
        return parse_networks(str(value))
    except ValueError as error:
        raise UsageError(
            f"--trusted-proxy {str(value)!r} is not understood ({error}): give the proxy's address "
            "or network, such as 127.0.0.1 or 10.0.0.0/8; several are separated by commas."
        ) from error


def _port(value: Any) -> int:
    try:
        port = int(value)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise UsageError(f"port {value!r} is not one: use a number from 0 (any free one) to 65535.")
    return port


def _gigabytes(value: str | None) -> float | None:
    if not value:
        return None
    try:
        gigabytes = float(value)
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < float("inf"):
        raise UsageError(
            f"STUDIO_FEATURES_MAX_GB is {value!r}: give gigabytes above 0, such as 20, or leave "
            "it out for no limit."
        )
    return gigabytes


def _is_numbered_cuda(device: str) -> bool:
    kind, _, number = device.partition(":")
    return kind == "cuda" and number.isdigit()
