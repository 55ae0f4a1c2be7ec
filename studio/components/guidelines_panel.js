// The guidelines beside the pair: which version, and whether it changed since one last looked.

class GuidelinesPanel {
  // `parts`: {panel, text, version, news, button}.
  constructor(parts, scope) {
    this.parts = parts;
    this.key = `reward-studio/guidelines/${scope}`;
    this.guidelines = null;
    this.seen = Number(keptInBrowser(this.key)) || null;
    this.before = this.seen; // the version read before this visit, or before the newest change
  }

  get isThere() {
    return Boolean(this.guidelines?.text?.trim());
  }

  get isNew() {
    return this.isThere && this.seen !== this.guidelines.version;
  }

  update(guidelines) {
    if (JSON.stringify(guidelines) !== JSON.stringify(this.guidelines)) {
      this.guidelines = guidelines;
      this.before = this.seen;
      const { text, html } = guidelines || { text: "" };
      this.parts.text.replaceChildren(richText(html, text));
    }
    this.draw();
  }

  toggle(isOpen = !preferences.isGuideOpen) {
    prefer("isGuideOpen", isOpen);
    this.before = this.seen;
    this.draw();
  }

  draw() {
    const { panel, version, news, button } = this.parts;
    const isOpen = this.isThere && preferences.isGuideOpen;
    button.hidden = !this.isThere;
    button.setAttribute("aria-expanded", String(isOpen));
    button.classList.toggle("news", this.isNew && !isOpen);
    button.title = this.isNew && !isOpen ? "Changed since you last looked" : "";
    panel.hidden = !isOpen;
    if (!isOpen) return;
    version.textContent = `Version ${this.guidelines.version}`;
    const hasChanged = this.before !== null && this.before !== this.guidelines.version;
    news.hidden = !hasChanged;
    if (hasChanged) news.textContent = `Changed since you last looked: you had read version ${this.before}.`;
    if (document.visibilityState === "visible" && panel.offsetParent !== null) {
      this.seen = this.guidelines.version;
      keepInBrowser(this.key, String(this.seen));
    }
  }
}
