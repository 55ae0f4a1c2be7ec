"""The diverging scale of the heatmaps: PuOr, symmetric about zero, safe for colour-blind eyes.

Scores become one of 25 levels (−12 … 0 … +12, see heat_units.js). Each level has a colour for
light pages and one for dark pages, picked so that the page's text colour on it has a contrast of at
least 4.5 : 1: light pages mix towards light orange and light purple, dark pages towards deep ones.
"""

from __future__ import annotations

NUM_LEVELS = 12
# (negative end, middle, positive end, text). Orange is negative, purple positive, as in PuOr.
LIGHT_SCALE = ("#e08214", "#ffffff", "#9d90cb", "#1c1e22")
DARK_SCALE = ("#a85205", "#1b1e22", "#6b54a8", "#f4f2ee")
SCALE_QUANTILE = 0.98


def mix(start: str, end: str, share: float) -> str:
    """The colour `share` of the way from one #rrggbb to another."""
    pairs = zip(_channels(start), _channels(end), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def palette(is_dark: bool) -> dict[int, str]:
    """Colour of every level."""
    negative, middle, positive, _ = DARK_SCALE if is_dark else LIGHT_SCALE
    return {
        n: mix(middle, positive if n > 0 else negative, abs(n) / NUM_LEVELS)
        for n in range(-NUM_LEVELS, NUM_LEVELS + 1)
    }


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two #rrggbb colours, 1 to 21."""
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def palette_css() -> str:
    """Rules `.t[data-l="-3"]` for both page colours; level 0 has no background of its own."""
    rules = []
    for is_dark, prefix in ((False, ""), (True, ".dark & ")):
        text = (DARK_SCALE if is_dark else LIGHT_SCALE)[3]
        rules.append(f'{prefix}[data-l]:not([data-l="0"]){{color:{text}}}')
        rules += [
            f'{prefix}[data-l="{n}"]{{background-color:{colour}}}'
            for n, colour in palette(is_dark).items()
            if n
        ]
        negative, middle, positive, _ = DARK_SCALE if is_dark else LIGHT_SCALE
        gradient = f"linear-gradient(to right,{negative},{middle},{positive})"
        rules.append(f"{prefix}.rs-legend-bar{{background:{gradient}}}")
    return "\n".join(rules)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
