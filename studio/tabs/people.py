"""The People tab: who may do what in the chosen project, invitations, and (for admins) accounts.

Leads see and change the roles of their own project and invite to it; admins see every account, and
alone deactivate accounts, make admins and give new passwords.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from studio.components.people_panel import people_panel, people_value
from studio.services import accounts, invitations, projects
from studio.services.errors import StudioError, UsageError
from studio.services.people import Person
from studio.tabs.context import QUICK, TabContext, TabHandle, told

FIRST_ACCOUNT = "reward-studio user add NAME --admin"


def build(ctx: TabContext) -> TabHandle:
    with gr.Tab("People", id="people") as tab:
        panel = people_panel()

    @told
    def refresh(project_id: int | None, request: gr.Request) -> str:
        person = ctx.require(request, project_id, "lead")
        return people_value(_panel(ctx, person, project_id))

    @told
    def act(project_id: int | None, request: gr.Request, event: gr.EventData) -> str:
        person = ctx.require(request, project_id, "lead")
        asked = event._data if isinstance(event._data, dict) else {}
        try:
            told_here = _do(ctx, person, project_id, asked)
        except StudioError as error:
            told_here = {"error": str(error)}
        return people_value(_panel(ctx, person, project_id) | told_here)

    panel.act(act, ctx.picker, panel, **QUICK)
    tab.select(refresh, ctx.picker, panel, **QUICK)
    return TabHandle(tab, refresh, [panel])


# --- what is shown ---------------------------------------------------------------------------


def _panel(ctx: TabContext, person: Person, project_id: int | None) -> dict[str, Any]:
    """Everything that this person may know of the people of the project."""
    found = accounts.list_all(ctx.database)
    if not person.is_admin:
        found = [account for account in found if project_id in account.roles]
    project = None
    if project_id is not None:
        project = {"id": project_id, "name": projects.names(ctx.database)[project_id]}
    return {
        "has_accounts": bool(found),
        "command": f"{FIRST_ACCOUNT} --data-dir {ctx.settings.data_dir}",
        "me": person.name,
        "is_admin": person.is_admin,
        "project": project,
        "people": [_shown(account, project_id) for account in found],
        "invitations": _invitations(ctx, project_id),
    }


def _shown(account: accounts.AccountInfo, project_id: int | None) -> dict[str, Any]:
    seen = account.last_seen_at
    return {
        "id": account.id,
        "name": account.name,
        "is_admin": account.is_admin,
        "active": account.active,
        "role": account.roles.get(project_id, "") if project_id is not None else "",
        "last_seen": seen.isoformat() if seen else None,
    }


def _invitations(ctx: TabContext, project_id: int | None) -> list[dict[str, Any]]:
    if project_id is None:
        return []
    return [
        {
            "id": invitation.id,
            "role": invitation.role,
            "author": invitation.author,
            "num_uses": invitation.num_uses,
            "max_uses": invitation.max_uses,
            "expires": invitation.expires_at.isoformat(),
            "state": invitation.state,
        }
        for invitation in invitations.of_project(ctx.database, project_id)
    ]


# --- what is done ----------------------------------------------------------------------------


def _do(
    ctx: TabContext, person: Person, project_id: int | None, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """One change; what to tell of it."""
    action = str(asked.get("action"))
    if action in {"password", "admin", "active"}:
        if not person.is_admin:
            raise UsageError("only admins change accounts; ask one of them")
        return _change_account(ctx, person, action, asked)
    if project_id is None:
        raise UsageError("no project is chosen; choose one above")
    if action == "invite":
        made = invitations.invite(
            ctx.database,
            project_id,
            str(asked.get("role")),
            actor=person.name,
            days=_number(asked, "days"),
            max_uses=_number(asked, "max_uses"),
        )
        return {"link": made.token}
    if action == "revoke":
        invitation_id = _number(asked, "invitation")
        invitations.revoke(ctx.database, project_id, invitation_id, actor=person.name)
        return {"done": "the invitation is withdrawn"}
    if action in {"role", "add"}:
        return _give_role(ctx, person, project_id, action, asked)
    raise UsageError(f"unknown action {action[:40]!r}; load the page again")


def _give_role(
    ctx: TabContext, person: Person, project_id: int, action: str, asked: Mapping[str, Any]
) -> dict[str, Any]:
    role = str(asked.get("role") or "") or None
    if action == "add":
        account = accounts.find(ctx.database, str(asked.get("name") or ""))
    else:
        known = accounts.list_all(ctx.database)
        account_id = _number(asked, "account")
        # A lead changes the roles of those who are in the project, and knows of nobody else.
        there = [a for a in known if person.is_admin or project_id in a.roles]
        account = _only([a for a in there if a.id == account_id], account_id)
    changed = accounts.set_role(ctx.database, account.id, project_id, role, actor=person.name)
    what = f"is {'a lead' if role == 'lead' else 'an annotator'}" if role else "has no role"
    return {"done": f"{changed.name} {what} in this project"}


def _change_account(
    ctx: TabContext, person: Person, action: str, asked: Mapping[str, Any]
) -> dict[str, Any]:
    account_id = _number(asked, "account")
    if action == "password":
        text = accounts.reset_password(ctx.database, account_id, actor=person.name)
        known = accounts.list_all(ctx.database)
        name = _only([a for a in known if a.id == account_id], account_id).name
        return {"password": {"name": name, "text": text}}
    if action == "admin":
        is_admin = asked.get("is_admin") is True
        changed = accounts.set_admin(ctx.database, account_id, is_admin, actor=person.name)
        return {"done": f"{changed.name} is {'an admin now' if is_admin else 'no admin any more'}"}
    active = asked.get("active") is True
    changed = accounts.set_active(ctx.database, account_id, active, actor=person.name)
    return {"done": f"{changed.name} may {'sign in again' if active else 'no longer sign in'}"}


def _only(found: list[accounts.AccountInfo], account_id: int) -> accounts.AccountInfo:
    if not found:
        raise UsageError(f"no account with the number {account_id} here; load the page again")
    return found[0]


def _number(asked: Mapping[str, Any], name: str) -> int:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise UsageError(f"{name.replace('_', ' ')} is {value!r:.40}; give a whole number")
    return value
