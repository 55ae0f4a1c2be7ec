"""The diverging scale: symmetric, honest about outliers, readable on light and dark pages."""

from __future__ import annotations

import pytest

from studio.components.colours import (
    DARK_SCALE,
    LIGHT_SCALE,
    NUM_LEVELS,
    contrast,
    palette,
    palette_css,
)
from studio.theme import DARK, LIGHT


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_is_readable_on_every_level(is_dark: bool) -> None:
    text = (DARK_SCALE if is_dark else LIGHT_SCALE)[3]
    worst = min(contrast(colour, text) for colour in palette(is_dark).values())
    assert worst >= 4.5


@pytest.mark.parametrize("is_dark", [False, True])
def test_neighbouring_levels_differ_and_the_middle_is_the_pages_surface(is_dark: bool) -> None:
    colours = palette(is_dark)
    assert len(set(colours.values())) == 2 * NUM_LEVELS + 1
    assert colours[0] == (DARK if is_dark else LIGHT)["surface"]


def test_every_level_has_a_rule_for_light_and_dark() -> None:
    css = palette_css()
    for n in range(-NUM_LEVELS, NUM_LEVELS + 1):
        assert css.count(f'[data-l="{n}"]{{') == (2 if n else 0)


@pytest.mark.parametrize("colours", [LIGHT, DARK])
@pytest.mark.parametrize(
    "text", ["ink", "muted", "accent", "good", "warn", "bad", "chosen", "rejected"]
)
@pytest.mark.parametrize("ground", ["bg", "surface"])
def test_the_themes_texts_are_readable(colours: dict[str, str], text: str, ground: str) -> None:
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_texts_on_coloured_grounds_are_readable(colours: dict[str, str]) -> None:
    assert contrast(colours["accent-ink"], colours["accent"]) >= 4.5
    assert contrast(colours["warn"], colours["warn-soft"]) >= 4.5
    assert contrast(colours["bad"], colours["bad-soft"]) >= 4.5
    assert contrast(colours["ink"], colours["accent-soft"]) >= 4.5
