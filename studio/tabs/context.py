"""What every tab is given and what it gives back, and how a handler tells people of an error."""

from __future__ import annotations

import html
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from studio.identity import current_person
from studio.services.errors import StudioError
from studio.services.people import Person, Role, require

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components import Component

    from db.engine import Database
    from studio.settings import Settings

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# For handlers of a few milliseconds: no queue, no spinner, no entry in the page's API.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# For handlers that take a while: the button shows it.
SLOW: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}


@dataclass(frozen=True)
class TabContext:
    """`picker.value` is the project's id, or None; `tabs` lets one tab open another."""

    database: Database
    settings: Settings
    picker: gr.Dropdown
    tabs: gr.Tabs

    def person(self, request: gr.Request) -> Person:
        """Who sent the request."""
        return current_person(request)

    def require(self, request: gr.Request, project_id: int | None, role: Role) -> Person:
        """Who sent the request, if their role reaches; every handler begins with this."""
        return require(self.person(request), project_id, role)


@dataclass(frozen=True)
class TabHandle:
    """A built tab: `refresh(project_id, request)` gives the values of its `outputs`."""

    tab: gr.Tab
    refresh: Callable[..., Any]
    outputs: Sequence[Component]


def sentence(error: Exception) -> str:
    """The error as a sentence to show."""
    text = str(error).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def told(handler: Callable[P, T]) -> Callable[P, T]:
    """Make every error of the handler one readable sentence in the page.

    A StudioError is written for people. Anything else is a fault of ours: its trace goes to the
    server's log, and the page says where to look, since Gradio alone would say just "Error".
    Every handler of the page is wrapped in this; tests/components/test_handlers.py looks.
    """

    @wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        import gradio as gr

        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except StudioError as error:
            # Gradio renders the message as HTML, and it quotes what people typed.
            raise gr.Error(html.escape(sentence(error)), print_exception=False) from error
        except Exception as error:
            mark = secrets.token_hex(3)
            log.exception("fault %s in the page's handler %s", mark, handler.__qualname__)
            raise gr.Error(_fault_sentence(mark), print_exception=False) from error

    wrapped.is_told = True  # type: ignore[attr-defined]
    return wrapped


def _fault_sentence(mark: str) -> str:
    return (
        "This did not work because of a fault in the studio, not in what you did; what was saved "
        "stays saved. The terminal where the server runs has the details: look there for "
        f"“fault {mark}”."
    )
