"""Who sent a request: the one place that reads it, for the routes and for Gradio's handlers.

The guard finds out once a request and remembers it in the request's state, which Gradio hands on
to its handlers. What did not come through the guard was sent by nobody.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from studio.services.people import NotAllowed, Person

KEY = "person"


def remember(scope: MutableMapping[str, Any], person: Person) -> None:
    """Note in an ASGI scope who sent its request."""
    scope["state"] = {**scope.get("state", {}), KEY: person}


def current_person(request: Any) -> Person:
    """The person behind a Starlette request or a `gr.Request`."""
    person = getattr(getattr(request, "state", None), KEY, None)
    if isinstance(person, Person):
        return person
    raise NotAllowed("nobody is signed in for this request; sign in, then try again")
