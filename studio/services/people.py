"""Who asks, and what they may do: every handler and route begins here.

    person = Person("mara", roles={3: "lead"})
    require(person, project_id=3, role="annotator")      # a lead may do what an annotator may

Without accounts there is one person, whoever sits at this machine: `LOCAL`, who may do everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from studio.services.errors import StudioError

Role = Literal["annotator", "lead", "admin"]
RANK: Mapping[str, int] = {"annotator": 1, "lead": 2, "admin": 3}


class NotAllowed(StudioError):
    """The person's role does not reach."""


@dataclass(frozen=True)
class Person:
    """A name, which votes carry, and the person's role in each project by its id."""

    name: str
    is_admin: bool = False
    roles: Mapping[int, str] = field(default_factory=dict)

    def may(self, project_id: int | None, role: Role) -> bool:
        """Whether the role reaches; `project_id` None asks about the server as a whole."""
        if self.is_admin:
            return True
        if project_id is None:
            return False
        return RANK.get(self.roles.get(project_id, ""), 0) >= RANK[role]


LOCAL = Person("local", is_admin=True)


def require(person: Person, project_id: int | None, role: Role) -> Person:
    """The person, if their role in the project reaches; else NotAllowed."""
    if person.may(project_id, role):
        return person
    raise NotAllowed(
        f"this needs the role {role} here, and {person.name!r} does not have it; "
        "ask an admin of this server for it"
    )
