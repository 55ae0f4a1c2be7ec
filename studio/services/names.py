"""Names of people: how they are spelt, and which of them are the same name.

checked_name("  Mara ") == "Mara"
name_key("MARA") == name_key("mara")
"""

from __future__ import annotations

import unicodedata

from studio.services.errors import UsageError

MAX_NAME = 64
MAX_TYPED = 1000  # of what somebody types as a name no more is looked at
# Votes carry these for people and files that have no account.
RESERVED = frozenset({"local"})
RESERVED_PREFIX = "import:"


def checked_name(name: str) -> str:
    """The name as it is kept and shown, or UsageError where nobody may be called so."""
    kept = " ".join(part for part in unicodedata.normalize("NFKC", name).split(" ") if part)
    if not kept:
        raise UsageError("the user name is empty; give one")
    if len(kept) > MAX_NAME:
        raise UsageError(f"the user name has {len(kept)} characters; use at most {MAX_NAME}")
    for character in kept:
        kind = unicodedata.category(character)
        # Control, formatting (also what turns text around), private, unassigned; line separators.
        if kind.startswith("C") or kind in {"Zl", "Zp"}:
            raise UsageError(
                f"the user name {kept!r} holds a character that does not print "
                f"(U+{ord(character):04X}); leave it out"
            )
    key = name_key(kept)
    if key in RESERVED or key.startswith(RESERVED_PREFIX):
        raise UsageError(f"the user name {kept!r} is reserved; choose another")
    return kept


def name_key(name: str) -> str:
    """What two spellings of one name share; any text has one, so that any can be looked up."""
    folded = unicodedata.normalize("NFKC", name[:MAX_TYPED]).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())
