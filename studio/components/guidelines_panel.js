// The guidelines beside the pair: which version, whether it changed since one last looked, and what
// earlier versions said.

class GuidelinesPanel {
  // `parts`: {panel, text, version, versions, news, button}; `fetchVersion(number)` gives an old one.
  constructor(parts, scope, fetchVersion) {
    this.parts = parts;
    this.fetchVersion = fetchVersion;
    this.past = null; // the earlier version that is read just now
    parts.versions.onchange = () => this.choose(Number(parts.versions.value));
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
      this.past = null;
      this.write(guidelines || { text: "" });
      const newest = guidelines?.version || 0;
      this.parts.versions.replaceChildren(...Array.from({ length: newest }, (_, i) => newest - i)
        .map((each) => h("option", { value: each }, `Version ${each}${each === newest ? "" : " (old)"}`)));
    }
    this.draw();
  }

  write({ text, html }) {
    this.parts.text.replaceChildren(richText(html, text));
    this.parts.text.scrollTop = 0;
  }

  async choose(version) {
    this.parts.versions.blur(); // the digits are verdicts again
    const asked = this.guidelines;
    this.past = version === asked.version ? null : { version, sentence: "Fetching it …" };
    this.draw();
    try {
      const shown = this.past ? await this.fetchVersion(version) : asked;
      if (this.guidelines !== asked || Number(this.parts.versions.value) !== version) return;
      this.write(shown);
      if (this.past) {
        const from = new Date(shown.created_at).toLocaleDateString(undefined, { dateStyle: "medium" });
        this.past.sentence = `An old version, of ${from}. Version ${asked.version} is in force.`;
      }
    } catch (error) {
      if (this.past) this.past.sentence = `Version ${version} cannot be fetched: ${sentence(error.message)} You see version ${asked.version}.`;
      this.write(asked);
    }
    this.draw();
  }

  toggle(isOpen = !preferences.isGuideOpen) {
    prefer("isGuideOpen", isOpen);
    this.before = this.seen;
    this.draw();
  }

  draw() {
    const { panel, version, versions, news, button } = this.parts;
    const isOpen = this.isThere && preferences.isGuideOpen;
    button.hidden = !this.isThere;
    button.setAttribute("aria-expanded", String(isOpen));
    button.classList.toggle("news", this.isNew && !isOpen);
    button.title = this.isNew && !isOpen ? "Changed since you last looked" : "";
    panel.hidden = !isOpen;
    if (!isOpen) return;
    const isOnly = this.guidelines.version === 1;
    version.hidden = !isOnly;
    versions.hidden = isOnly;
    version.textContent = `Version ${this.guidelines.version}`;
    const hasChanged = this.before !== null && this.before !== this.guidelines.version;
    news.hidden = !hasChanged && !this.past;
    if (this.past) news.textContent = this.past.sentence;
    else if (hasChanged) news.textContent = `Changed since you last looked: you had read version ${this.before}.`;
    if (document.visibilityState === "visible" && panel.offsetParent !== null) {
      this.seen = this.guidelines.version;
      keepInBrowser(this.key, String(this.seen));
    }
  }
}
