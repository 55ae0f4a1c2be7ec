"""How every page looks: one Gradio theme, one stylesheet, one `<head>` snippet.

Passed to `mount_gradio_app(app, build_blocks(...), theme=theme(), css=CSS, head=HEAD)`.
Colours are custom properties (`--rs-*`), set once for light and once for dark (Gradio puts the
class `dark` on the body when the system asks for it); components use nothing but these, so that
a component is right in both. Fonts are the system's own: no page makes an external request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.themes import Base

SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace"]

LIGHT = {
    "bg": "#f6f5f1",
    "surface": "#ffffff",
    "sunken": "#efede7",
    "ink": "#1c1e22",
    "muted": "#5a5f69",
    "line": "#dedad1",
    "line-strong": "#8b8d8f",
    "accent": "#0b666d",
    "accent-ink": "#ffffff",
    "accent-soft": "#e0eeec",
    "accent-softer": "#eff6f4",
    "good": "#19703f",
    "warn": "#835200",
    "warn-soft": "#fdf1d8",
    "bad": "#ab2219",
    "chosen": "#6553a8",
    "rejected": "#a65a08",
    "bad-soft": "#fbe9e6",
    "shadow": "0 1px 2px rgb(30 30 20 / 6%), 0 6px 24px rgb(30 30 20 / 5%)",
}
DARK = {
    "bg": "#131518",
    "surface": "#1b1e22",
    "sunken": "#16181b",
    "ink": "#e8e6e1",
    "muted": "#a6a9b0",
    "line": "#31353b",
    "line-strong": "#777c84",
    "accent": "#62c6c4",
    "accent-ink": "#04201f",
    "accent-soft": "#17393b",
    "accent-softer": "#1a2a2d",
    "good": "#6fcf97",
    "warn": "#f0c060",
    "warn-soft": "#382c13",
    "bad": "#ff9a8f",
    "chosen": "#b3a5ea",
    "rejected": "#f0a860",
    "bad-soft": "#3d1f1d",
    "shadow": "0 1px 2px rgb(0 0 0 / 40%), 0 6px 24px rgb(0 0 0 / 25%)",
}


def theme() -> Base:
    """The Gradio theme: our colours and system fonts in the variables that its widgets read."""
    import gradio as gr

    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=SANS,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
    )
    shared = {
        "body_background_fill": "var(--rs-bg)",
        "body_text_color": "var(--rs-ink)",
        "body_text_color_subdued": "var(--rs-muted)",
        "background_fill_primary": "var(--rs-surface)",
        "background_fill_secondary": "var(--rs-sunken)",
        "block_background_fill": "transparent",
        "block_border_color": "var(--rs-line)",
        "block_label_text_color": "var(--rs-muted)",
        "block_label_background_fill": "var(--rs-surface)",
        "block_title_text_color": "var(--rs-ink)",
        "block_info_text_color": "var(--rs-muted)",
        "border_color_primary": "var(--rs-line)",
        "border_color_accent": "var(--rs-accent)",
        "color_accent_soft": "var(--rs-accent-soft)",
        "checkbox_background_color_selected": "var(--rs-accent)",
        "checkbox_border_color": "var(--rs-line-strong)",
        "checkbox_border_color_selected": "var(--rs-accent)",
        "checkbox_border_color_focus": "var(--rs-accent)",
        "checkbox_label_background_fill": "transparent",
        "checkbox_label_background_fill_hover": "transparent",
        "checkbox_label_background_fill_selected": "transparent",
        "input_background_fill": "var(--rs-surface)",
        "input_border_color": "var(--rs-line-strong)",
        "input_border_color_focus": "var(--rs-accent)",
        "input_placeholder_color": "var(--rs-muted)",
        "link_text_color": "var(--rs-accent)",
        "button_primary_background_fill": "var(--rs-accent)",
        "button_primary_background_fill_hover": (
            "color-mix(in srgb, var(--rs-accent) 88%, var(--rs-ink))"
        ),
        "button_primary_text_color": "var(--rs-accent-ink)",
        "button_primary_border_color": "var(--rs-accent)",
        "button_secondary_background_fill": "var(--rs-surface)",
        "button_secondary_background_fill_hover": "var(--rs-accent-soft)",
        "button_secondary_border_color_hover": "var(--rs-accent)",
        "button_secondary_text_color": "var(--rs-ink)",
        "button_secondary_border_color": "var(--rs-line-strong)",
        "button_cancel_background_fill": "var(--rs-surface)",
        "button_cancel_text_color": "var(--rs-bad)",
        "button_cancel_border_color": "var(--rs-bad)",
    }
    dark = {f"{name}_dark": value for name, value in shared.items()}
    sizes = {
        "color_accent": "var(--rs-accent)",
        "button_border_width": "1px",
        # The boxes that people fill in have the frames, not the blocks around box and label.
        "block_border_width": "0px",
        "block_padding": "0",
        "block_title_text_weight": "600",
        "block_title_text_size": "0.875rem",
        "input_border_width": "1px",
        "input_padding": "9px 12px",
        "input_radius": "8px",
        "form_gap_width": "0px",
        "checkbox_label_border_width": "0px",
        "checkbox_label_border_width_dark": "0px",
        "checkbox_label_padding": "6px 18px 6px 0",
        "button_large_text_weight": "500",
        "button_large_text_size": "0.9375rem",
    }
    return base.set(**shared, **dark, **sizes)


def _properties(colours: dict[str, str]) -> str:
    return "".join(f"--rs-{name}:{value};" for name, value in colours.items())


_LAYOUT = """
html { scroll-padding-top: 64px; }
body { background: var(--rs-bg); }
/* Gradio hides the overflow here, which would stop everything inside from being sticky. */
.gradio-container { max-width: none !important; overflow: visible !important;
  padding: 0 !important; }
.gradio-container > .main { max-width: 1320px !important; margin: 0 auto !important;
  padding: 0 clamp(12px, 2.2vw, 28px) !important; width: 100%; box-sizing: border-box; }
.gradio-container .html-container { padding: 0; }
/* One line with the name, the tabs and the project; Gradio's tab list is moved up into it. */
#rs-header { align-items: center; gap: 16px; height: 56px; flex-wrap: nowrap;
  margin-bottom: -16px; }
#rs-header > * { z-index: 3; }
#rs-name { flex: 1 1 auto; min-width: 0; pointer-events: none; }
#rs-name h1 { font-size: 1.0625rem; font-weight: 650; letter-spacing: -0.01em; margin: 0;
  color: var(--rs-ink); white-space: nowrap; }
#project-picker { flex: 0 1 200px; min-width: 120px !important; }
#who { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important;
  overflow: visible !important; }
#who:not(:has(details)) { display: none; }
#rs-ended { position: fixed; inset: 0 0 auto; z-index: 100; display: flex; flex-wrap: wrap;
  gap: 8px 18px; align-items: center; justify-content: center; padding: 10px 16px;
  background: var(--rs-warn-soft); color: var(--rs-ink); border-bottom: 1px solid var(--rs-warn); }
#rs-ended button { padding: 6px 16px; border: 0; border-radius: 8px; font: inherit;
  font-weight: 600; cursor: pointer; background: var(--rs-accent); color: var(--rs-accent-ink); }
#rs-tabs > .tab-wrapper { height: 48px; padding-bottom: 0; margin-bottom: 12px; }
#rs-tabs .tab-container { height: 48px; }
#rs-tabs .tab-container::after { display: none; }
#rs-tabs button[role="tab"] { min-height: 44px; color: var(--rs-muted); font-size: 0.9375rem;
  padding: 0 10px; }
#rs-tabs button[role="tab"]:focus-visible { outline-offset: -3px; }
#rs-tabs button[role="tab"].selected { color: var(--rs-accent); font-weight: 600; }
.rs-side-by-side { gap: 18px; }
.rs-columns { gap: 12px; flex-wrap: wrap; }
.rs-columns > * { flex: 1 1 210px; max-width: 330px; }
.rs-line { align-items: center; gap: 12px; }
#guidelines-result { min-width: min(340px, 100%); }
.rs-compact > * { flex-grow: 0 !important; }
.rs-h h2 { font-size: 1.125rem !important; font-weight: 600 !important;
  margin: 14px 0 0 !important; }
.gradio-container .form { border: 0; background: none; gap: 14px; overflow: visible; }
.gradio-container .block:has(> label, > fieldset) { overflow: visible !important; }
.gradio-container :is(input, textarea):focus-visible { outline-offset: -2px; }
/* Boxes without a label of their own have no frame from Gradio. */
.gradio-container :is(#guidelines-box, #rule-count, #rule-cron)
  :is(input, textarea),
.gradio-container :is(#project-picker, #archived-picker, #rule-timezone, #answers-rule,
  #import-columns) .wrap {
  border: 1px solid var(--rs-line-strong) !important; border-radius: 8px;
  background: var(--rs-surface); }
.gradio-container :is(#project-picker, #archived-picker, #rule-timezone, #answers-rule,
  #import-columns) .wrap input { padding-inline: 10px; }
#import-file { background: var(--rs-surface); border: 1px dashed var(--rs-line-strong) !important;
  border-radius: 10px; }
/* One slim line, the arrow before the words: ▸ closed, ▾ open. */
.gr-accordion > .label-wrap { flex-direction: row-reverse; justify-content: flex-end;
  align-items: center; gap: 8px;
  min-height: 36px; width: auto; margin: 0; padding: 0 10px 0 2px; border-radius: 8px;
  color: var(--rs-muted); font-size: 0.875rem; }
.gr-accordion > .label-wrap:hover { color: var(--rs-ink); }
.gr-accordion > .label-wrap .icon { font-size: 0; width: 10px; height: 6px; margin: 0 2px;
  background: currentColor; clip-path: polygon(0 0, 100% 0, 50% 100%); }
.gr-accordion > .label-wrap .icon[style*="90deg"] { transform: rotate(-90deg) !important; }
.gr-accordion { overflow: visible !important; }
.gradio-container textarea { unicode-bidi: plaintext; text-align: start; font-size: 1rem;
  line-height: 1.55; }
#export-commands .icon-button-wrapper { top: 30px; right: 6px; border: 0; }
#export-commands textarea { font-family: var(--font-mono); font-size: 0.875rem; }
.gradio-container button { min-height: 40px; }
.gradio-container .reset-button { min-height: 0; }
@keyframes rs-slide { from { margin-inline-start: 0; } to { margin-inline-start: 70%; } }
footer { display: none !important; }
:focus-visible { outline: 2px solid var(--rs-accent); outline-offset: 2px; }
@media (prefers-reduced-motion: reduce) {
  * { animation: none !important; transition: none !important; }
}
"""

CSS = (
    f":root{{color-scheme:light;{_properties(LIGHT)}}}"
    f".dark{{color-scheme:dark;{_properties(DARK)}}}"
    f"{_LAYOUT}"
)

HEAD = (
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
)
