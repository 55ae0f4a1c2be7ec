"""The diverging scale: symmetric, honest about outliers, readable on light and dark pages."""

from __future__ import annotations

import pytest

from studio.components.colours import (
    DARK_SCALE,
    LIGHT_SCALE,
    NUM_LEVELS,
    contrast,
    level,
    palette,
    palette_css,
    scale_of,
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


def test_levels_are_symmetric_about_zero_and_end_at_the_scale() -> None:
    assert level(0.0, 2.0) == 0
    assert level(None, 2.0) == 0
    assert level(2.0, 2.0) == NUM_LEVELS
    assert level(-3.5, 2.0) == -NUM_LEVELS
    assert all(level(x / 10, 2.0) == -level(-x / 10, 2.0) for x in range(30))


def test_one_outlier_does_not_stretch_the_scale() -> None:
    assert scale_of([*([0.1, -0.1] * 100), 50.0]) == pytest.approx(0.1)


@pytest.mark.parametrize("scores", [[], [None], [0.0, 0.0]])
def test_nothing_to_colour_still_gives_a_scale(scores: list[float | None]) -> None:
    assert scale_of(scores) == 1.0


def test_mostly_zero_scores_still_have_a_scale_above_zero() -> None:
    assert scale_of([0.0] * 99 + [0.5]) > 0


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
