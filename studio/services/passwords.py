"""Passwords: scrypt hashes that carry their own parameters, and what a password must be.

    stored = hash_password("correct horse battery")       # scrypt$n=32768,r=8,p=3$salt$key
    matches("correct horse battery", stored)               # True, in constant time

scrypt is RFC 7914; the cost is one of OWASP's recommended ones (32 MiB, about a third of a second).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass

from studio.services.errors import UsageError

MIN_LENGTH = 10
MAX_LENGTH = 1000
SALT_BYTES = 16
KEY_BYTES = 32


@dataclass(frozen=True)
class Cost:
    """scrypt's parameters; `str()` is how a stored hash names them."""

    n: int = 2**15
    r: int = 8
    p: int = 3

    def __str__(self) -> str:
        return f"n={self.n},r={self.r},p={self.p}"


STANDARD = Cost()


def hash_password(password: str, cost: Cost = STANDARD) -> str:
    """The hash to store, with a salt of its own."""
    salt = secrets.token_bytes(SALT_BYTES)
    return f"scrypt${cost}${_text(salt)}${_text(_derive(password, salt, cost))}"


def matches(password: str, stored: str) -> bool:
    """Whether the password is the one that was hashed; the comparison takes constant time."""
    cost, salt, key = _parse(stored)
    return hmac.compare_digest(_derive(password, salt, cost), key)


def is_outdated(stored: str, cost: Cost = STANDARD) -> bool:
    """Whether the hash was made with other parameters than those of today."""
    return _parse(stored)[0] != cost


def spend_time_on(password: str, cost: Cost = STANDARD) -> None:
    """The work of a check without an account: how long an answer takes tells nobody a name."""
    hmac.compare_digest(_derive(password, b"\0" * SALT_BYTES, cost), b"\0" * KEY_BYTES)


def check_rules(password: str, name: str) -> None:
    """Raise UsageError for a password that the account of this name must not have."""
    if len(password) < MIN_LENGTH:
        raise UsageError(
            f"the password has {len(password)} characters; use at least {MIN_LENGTH}, "
            "for example four words that do not belong together"
        )
    if len(password) > MAX_LENGTH:
        raise UsageError(f"the password has {len(password)} characters; use at most {MAX_LENGTH:,}")
    folded = _normal(password).casefold()
    if len(set(folded)) < 4:
        raise UsageError("the password is the same few characters over and over; choose another")
    name = _normal(name).casefold()
    if folded == name or (len(name) >= 4 and folded.replace(name, "").strip("0123456789!.") == ""):
        raise UsageError("the password is the user name; choose another")


def generate() -> str:
    """A random password to hand on: 20 letters and digits that are not mistaken for each other."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    groups = ["".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4)]
    return "-".join(groups)


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    # Bounded before any work, and the same bytes however the keyboard composed an accent.
    text = _normal(password[:MAX_LENGTH]).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(
        text,
        salt=salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        maxmem=128 * cost.r * (cost.n + cost.p + 2) + 2**20,
        dklen=KEY_BYTES,
    )


def _parse(stored: str) -> tuple[Cost, bytes, bytes]:
    found = re.fullmatch(
        r"scrypt\$n=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)", stored
    )
    if found is None:
        raise ValueError(f"not a password hash of ours: it begins {stored[:8]!r}")
    n, r, p, salt, key = found.groups()
    return Cost(int(n), int(r), int(p)), base64.b64decode(salt), base64.b64decode(key)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
