// Tables of people and invitations. Every change goes to the server as one `act` event.

const ROLES = [["", "No role"], ["annotator", "Annotator"], ["lead", "Lead"]];
const WHEN = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

function when(iso) {
  return iso ? WHEN.format(new Date(iso)) : "never";
}

function act(action, details = {}) {
  trigger("act", { action, ...details });
}

function button(label, onclick, kind = "", name = label) {
  return h("button", { type: "button", class: `rs-button ${kind}`, onclick, "aria-label": name }, label);
}

// A second click does it: what cannot be taken back easily is never one slip away.
function asksTwice(label, sure, onclick, name) {
  const made = button(label, () => {
    if (made.dataset.sure) { onclick(); return; }
    made.dataset.sure = "yes";
    made.textContent = sure;
    made.setAttribute("aria-label", `${sure} ${name}`);
  }, "", name);
  made.addEventListener("blur", () => {
    delete made.dataset.sure;
    made.textContent = label;
    made.setAttribute("aria-label", name);
  });
  return made;
}

function choice(label, options, value, onchange) {
  const made = h("select", { "aria-label": label, onchange: () => onchange(made.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return made;
}

// ---- what was just made -------------------------------------------------------------------------

function copyable(text, name) {
  const box = h("input", { type: "text", readonly: true, value: text, "aria-label": name, onfocus: () => box.select() });
  const copy = button("Copy", async () => {
    box.select();
    try { await navigator.clipboard.writeText(text); } catch { document.execCommand("copy"); }
    copy.textContent = "Copied";
  }, "primary", `Copy ${name.toLowerCase()}`);
  return h("div", { class: "rs-copy" }, box, copy);
}

function shown(value) {
  if (value.error) return h("p", { class: "rs-told bad", role: "alert" }, sentence(value.error));
  if (value.link) {
    return h("div", { class: "rs-told good", role: "status" },
      h("strong", {}, "The invitation is made. Copy its link now: it is not shown again."),
      copyable(`${location.origin}/join/${value.link}`, "Invitation link"));
  }
  if (value.password) {
    return h("div", { class: "rs-told good", role: "status" },
      h("strong", {}, "The new password of ", h("bdi", {}, value.password.name),
        ". Hand it on safely; it is not shown again, and it can be changed after signing in."),
      copyable(value.password.text, "New password"));
  }
  return value.done ? h("p", { class: "rs-told good", role: "status" }, sentence(value.done)) : null;
}

// ---- people -------------------------------------------------------------------------------------

function personRow(person, value) {
  const role = person.is_admin ? h("span", {}, "Admin: everything")
    : choice(`Role of ${person.name}`, ROLES, person.role, (chosen) => act("role", { account: person.id, role: chosen }));
  const tools = [];
  if (value.is_admin) {
    tools.push(asksTwice("New password", "Make a new one?", () => act("password", { account: person.id }), `New password for ${person.name}`));
    tools.push(asksTwice(person.is_admin ? "No admin" : "Make admin", "Sure?",
      () => act("admin", { account: person.id, is_admin: !person.is_admin }), `${person.is_admin ? "No admin any more:" : "Make admin:"} ${person.name}`));
    tools.push(person.active
      ? asksTwice("Deactivate", "Deactivate?", () => act("active", { account: person.id, active: false }), `Deactivate ${person.name}`)
      : button("Activate", () => act("active", { account: person.id, active: true }), "", `Activate ${person.name}`));
  }
  return h("tr", { "data-active": person.active ? "yes" : "no" },
    h("th", { scope: "row" }, h("bdi", {}, person.name), person.name === value.me ? h("span", { class: "rs-tag" }, "you") : null,
      person.active ? null : h("span", { class: "rs-tag" }, "deactivated")),
    h("td", {}, role),
    h("td", { class: "rs-when" }, when(person.last_seen)),
    value.is_admin ? h("td", { class: "rs-row-tools" }, tools) : null);
}

function table(name, columns, rows) {
  return h("div", { class: "rs-scroll", role: "region", tabindex: 0, "aria-label": name },
    h("table", {}, h("thead", {}, h("tr", {}, columns.map((text) => h("th", { scope: "col" }, text || h("span", { class: "rs-unseen" }, "Actions"))))),
      h("tbody", {}, rows)));
}

function people(value) {
  const columns = ["Name", value.project ? "Role in this project" : "Role", "Last seen"];
  const rows = value.people.map((person) => personRow(person, value));
  return h("section", {},
    h("h2", {}, "People"),
    h("p", {}, value.is_admin ? "Everybody who has an account on this server." : "Everybody who has a role in this project."),
    rows.length ? table("People", value.is_admin ? [...columns, ""] : columns, rows) : h("p", {}, "Nobody yet."),
    value.project && !value.is_admin ? addSomebody() : null);
}

function addSomebody() {
  const name = h("input", { type: "text", maxlength: 64, required: true, dir: "auto", autocomplete: "off", "aria-label": "User name of somebody who has an account" });
  const role = h("select", { "aria-label": "Role of the added person" }, ROLES.slice(1).map(([key, text]) => h("option", { value: key }, text)));
  return h("form", { class: "rs-add", onsubmit: (event) => { event.preventDefault(); act("add", { name: name.value, role: role.value }); } },
    h("label", {}, "Somebody who has an account", name), role, h("button", { type: "submit", class: "rs-button" }, "Add to the project"));
}

// ---- invitations --------------------------------------------------------------------------------

function invitationRow(invitation) {
  const open = invitation.state === "open";
  return h("tr", { "data-active": open ? "yes" : "no" },
    h("th", { scope: "row" }, invitation.role === "lead" ? "Lead" : "Annotator"),
    h("td", {}, `${invitation.num_uses} of ${invitation.max_uses}`),
    h("td", { class: "rs-when" }, when(invitation.expires)),
    h("td", {}, h("bdi", {}, invitation.author)),
    h("td", {}, open ? "Open" : sentence(invitation.state).slice(0, -1)),
    h("td", { class: "rs-row-tools" }, open ? asksTwice("Withdraw", "Withdraw?",
      () => act("revoke", { invitation: invitation.id }), `Withdraw invitation ${invitation.id}`) : null));
}

function number(label, value, max) {
  return h("input", { type: "number", min: 1, max, value, required: true, "aria-label": label });
}

function invitations(value) {
  const role = h("select", { "aria-label": "Role of the invited" }, ROLES.slice(1).map(([key, text]) => h("option", { value: key }, text)));
  const uses = number("For how many people", 1, 1000);
  const days = number("Days that the link holds", 7, 90);
  const form = h("form", { class: "rs-add", id: "invite-form",
    onsubmit: (event) => { event.preventDefault(); act("invite", { role: role.value, days: Number(days.value), max_uses: Number(uses.value) }); } },
  h("label", {}, "Role", role), h("label", {}, "For how many people", uses), h("label", {}, "Days that it holds", days),
  h("button", { type: "submit", class: "rs-button primary" }, "Make a link"));
  const rows = value.invitations.map(invitationRow);
  return h("section", {},
    h("h2", {}, "Invitations to ", h("bdi", {}, value.project.name)),
    h("p", {}, "Whoever has the link makes an account of their own, with this role in this project. Send it to nobody else."),
    form, rows.length ? table("Invitations", ["Role", "Used", "Holds until", "Made by", "State", ""], rows) : null);
}

function draw() {
  const value = parsed(props.value);
  const root = element.querySelector('[data-part="people"]');
  if (!value) { root.replaceChildren(); return; }
  if (!value.has_accounts) {
    root.replaceChildren(h("section", {}, h("h2", {}, "You are alone here"),
      h("p", {}, "Nobody has an account: the studio answers to this machine only, and everybody at it is the annotator “local”."),
      h("p", {}, "To let others in, make the first account in a terminal; from then on everybody signs in."),
      h("pre", { tabindex: 0, "aria-label": "Command" }, value.command)));
    return;
  }
  root.replaceChildren(...[shown(value), people(value), value.project ? invitations(value) : null].filter(Boolean));
}
watch("value", draw);
draw();
