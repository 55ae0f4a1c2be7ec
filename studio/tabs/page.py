"""The page: name, project picker and person above, the tabs below.

demo = build_blocks(database, settings)      # studio/app.py mounts it

A tab is shown to whom its role reaches in the chosen project. That is a courtesy: every handler
checks the role itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from studio.components.picker import row_picker
from studio.components.who import who, who_value
from studio.services.people import LOCAL, Person, Role
from studio.tabs import (
    checkpoints,
    data,
    history,
    label,
    people,
    playground,
    projects,
    quality,
    queue,
    train,
)
from studio.tabs.context import QUICK, TabContext, TabHandle, told

if TYPE_CHECKING:
    from db.engine import Database
    from studio.settings import Settings

# In the order of the tab list, each with the role that it is for.
TABS: tuple[tuple[Any, Role], ...] = (
    (label, "annotator"),
    (history, "annotator"),
    (queue, "lead"),
    (quality, "lead"),
    (train, "lead"),
    (checkpoints, "lead"),
    (playground, "annotator"),
    (data, "lead"),
    (projects, "lead"),
    (people, "lead"),
)

# The choice of project is a preference of the browser, never an identity. `?project=3` wins.
READ_CHOICE = """() => {
  const asked = new URLSearchParams(location.search).get("project");
  let kept = null;
  try { kept = localStorage.getItem("reward-studio/project"); } catch (error) { kept = null; }
  return [asked || kept || ""];
}"""
KEEP_CHOICE = """(id) => {
  try {
    if (id !== null && id !== undefined) localStorage.setItem("reward-studio/project", String(id));
  } catch (error) { console.debug("The choice of project is not kept:", error.message); }
}"""
MARK_READY = """() => { document.documentElement.dataset.ready = "yes"; }"""


def build_blocks(database: Database, settings: Settings) -> gr.Blocks:
    """Assemble the page; nothing is read from the database before a browser asks."""
    with gr.Blocks(
        title="Reward Studio", analytics_enabled=False, delete_cache=(3600, 24 * 3600)
    ) as demo:
        with gr.Row(elem_id="rs-header"):
            gr.HTML("<h1>Reward Studio</h1>", elem_id="rs-name", apply_default_css=False)
            picker = row_picker(
                label="Project",
                show_label=False,
                container=False,
                filterable=False,
                min_width=150,
                elem_id="project-picker",
            )
            signed_in = who()
        with gr.Tabs(elem_id="rs-tabs") as tabs:
            ctx = TabContext(database, settings, picker, tabs)
            built = [(module.build(ctx), role) for module, role in TABS]

        @told
        def choose(kept: str, request: gr.Request) -> gr.Dropdown:
            wanted = int(kept) if re.fullmatch(r"[0-9]{1,9}", str(kept or "")) else None
            return projects.picker_update(ctx, request, wanted)

        @told
        def show_tabs(project_id: int | None, request: gr.Request) -> str:
            return _who(ctx.person(request), project_id, built)

        remembered = gr.Textbox(visible=False)
        picker.change(None, picker, None, js=KEEP_CHOICE, **QUICK)
        picker.change(show_tabs, picker, signed_in, **QUICK)
        for handle, role in built:
            picker.change(_for_whom(ctx, handle, role), picker, handle.outputs, **QUICK)
        loading = demo.load(choose, remembered, picker, js=READ_CHOICE, **QUICK)
        loading.then(show_tabs, picker, signed_in, **QUICK).then(
            None, None, None, js=MARK_READY, **QUICK
        )
    return demo


def _for_whom(ctx: TabContext, handle: TabHandle, role: Role) -> Callable[..., Any]:
    """The tab's refresh, left out for those who do not see the tab."""

    @told
    def refresh(project_id: int | None, request: gr.Request) -> Any:
        if not _is_for(ctx.person(request), project_id, role):
            return gr.skip() if len(handle.outputs) == 1 else [gr.skip()] * len(handle.outputs)
        return handle.refresh(project_id, request)

    return refresh


def _is_for(person: Person, project_id: int | None, role: Role) -> bool:
    """Without a project everybody has the empty label page; the rest is for admins."""
    return person.may(project_id, role) or (project_id is None and role == "annotator")


def _who(person: Person, project_id: int | None, built: Sequence[tuple[TabHandle, Role]]) -> str:
    """The name at the top right, and the tabs that are not for it in this project."""
    hidden = [
        (position, str(handle.tab.id))
        for position, (handle, role) in enumerate(built, start=1)
        if not _is_for(person, project_id, role)
    ]
    if person.is_admin:
        about = "Admin"
    else:
        about = "Lead" if "lead" in person.roles.values() else "Annotator"
    name = "" if person is LOCAL else person.name
    return who_value(name, about=about, hidden=hidden, num_shown=len(built) - len(hidden))
