// The menu of the person who is signed in, and the word that a session has ended.

function menu(value) {
  const initial = [...value.name][0].toLocaleUpperCase();
  const details = h("details", {},
    h("summary", { "aria-label": `Signed in as ${value.name}`, title: value.name },
      h("span", { class: "rs-initial", "aria-hidden": "true" }, initial),
      h("span", { class: "rs-name", dir: "auto" }, value.name)),
    h("div", { class: "rs-menu" },
      h("p", {}, h("strong", { dir: "auto" }, value.name), value.about ? h("span", {}, value.about) : null),
      h("a", { href: "/password" }, "Change password"),
      h("form", { method: "post", action: "/sign-out" }, h("button", { type: "submit" }, "Sign out"))));
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
    event.stopPropagation();
  });
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
  });
  return details;
}

function closeWhenElsewhere(event) {
  const details = element.querySelector("details");
  if (details && !details.contains(event.target)) details.open = false;
}

// ---- a session that has ended -------------------------------------------------------------------

function sayEnded(text, label, onclick) {
  if (document.getElementById("rs-ended")) return;
  const bar = h("div", { id: "rs-ended", role: "alert" }, h("span", {}, text),
    h("button", { type: "button", onclick }, label));
  document.body.prepend(bar);
}

function toSignIn() {
  const here = location.pathname + location.search;
  location.assign(`/sign-in?next=${encodeURIComponent(here)}`);
}

async function look(response) {
  if (response.status === 401) {
    sayEnded("You are signed out. What you have not sent yet is kept in this browser.", "Sign in", toSignIn);
  } else if (response.status === 403 && response.url.includes("/gradio_api/")) {
    const body = await response.clone().json().catch(() => ({}));
    if (String(body.error || "").includes("opened by somebody else")) {
      sayEnded("Somebody else has signed in in this browser.", "Load again", () => location.reload());
    }
  }
}

function watchRequests() {
  if (window.rsWatchesRequests) return;
  window.rsWatchesRequests = true;
  const send = window.fetch;
  window.fetch = async (...request) => {
    const response = await send.apply(window, request);
    if (response.url.startsWith(location.origin)) look(response);
    return response;
  };
}

// ---- tabs that are not for this person ----------------------------------------------------------

// Gradio measures a hidden copy of the tab list to see what fits: both are cut, then it measures anew.
function showTabs(value) {
  let style = document.getElementById("rs-tabs-hidden");
  if (!style) {
    style = h("style", { id: "rs-tabs-hidden" });
    document.head.append(style);
  }
  style.textContent = value.hidden.map(({ position, id }) =>
    `#rs-tabs button[data-tab-id="${CSS.escape(id)}"], `
    + `#rs-tabs > .tab-wrapper > .visually-hidden > button:nth-child(${Number(position)}) { display: none !important; }`).join("\n");
  // Seven tabs fit beside name and project; more have a line of their own, and the card gives way.
  style.textContent += value.num_shown > 7
    ? "@media (min-width: 1240px) { :root { --rs-above-card: 118px; } }"
    : "@media (min-width: 1240px) { #rs-tabs { margin-top: -50px; } #rs-tabs > .tab-wrapper { margin-inline: 150px 376px !important; } }";
  window.dispatchEvent(new Event("resize"));
}

function draw() {
  const value = parsed(props.value);
  const isSignedIn = Boolean(value && value.name);
  element.querySelector('[data-part="who"]').replaceChildren(...(isSignedIn ? [menu(value)] : []));
  if (isSignedIn) watchRequests();
  if (value) showTabs(value);
}
document.addEventListener("pointerdown", closeWhenElsewhere);
watch("value", draw);
draw();
