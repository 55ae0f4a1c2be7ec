"""Key to next pair painted, in a real Chromium, beside the same page made of Gradio's own parts.

    python -m benchmarks.bench_card [--votes 200] [--no-save]

Two pages with the same pairs, the longest of the demo project and as many with code, tables and
formulas, all as Markdown:

- `card`: the vote card, its pairs preloaded; a verdict key is pressed as a person would.
- `gradio`: `gr.Markdown` for prompt and answers and a `gr.Button` with `queue=False` and without
  progress, Gradio's fastest way to do it; the button is clicked.

Taken in turn, one of each after the other, so that a busy machine is as bad for both. The clock
runs in the page: from the event's own time stamp to the task after the frame in which the next
pair's text stands. `frame` is an empty frame taken the same way: what no page can go below.
Prints a table and writes benchmarks/results/card.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from playwright.sync_api import Page, sync_playwright

from benchmarks.record import record
from studio.theme import CSS, HEAD, theme
from tests.components.harness import FakeServer, build, serve, showing

DEMO = Path(__file__).parents[1] / "studio" / "demo" / "oasst.jsonl.gz"
CHROMIUM = os.environ.get("STUDIO_TEST_CHROMIUM", "/usr/bin/chromium")
PAUSE_MS = 250  # between two verdicts, so that both pages are at rest
WARM_UP = 5
FORMATTED = """## Step {n}

The cost is $O(n \\log n)$, since \\(T(n) = 2T(n/2) + n\\):

```python
def merge(left: list[int], right: list[int]) -> list[int]:
    out = []
    while left and right:  # take the smaller one
        out.append((left if left[0] <= right[0] else right).pop(0))
    return out + left + right
```

| case | comparisons |
|:-----|------------:|
| best | $n$ |
| worst | $n^2$ |

- **first** reason, number {n}
- *second* reason, `inline`

"""
# Both wait for `ready()` to become true and then for the frame after it.
CLOCK = """() => {
  window.takes = (start, ready) => new Promise((done) => {
    const look = () => ready()
      ? requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))
      : requestAnimationFrame(look);
    look();
  });
}"""
LISTEN = """() => {
  const card = document.querySelector(".rs-card");
  window.times = [];
  let before = null;
  document.addEventListener("keydown", () => { before = card.dataset.showing; }, true);
  // After the card's own listener, so that the frame that is waited for is the next one.
  document.addEventListener("keydown", (event) => {
    window.takes(event.timeStamp, () => card.dataset.showing !== before)
      .then((ms) => window.times.push(ms));
  });
}"""
CLICK = """() => {
  const text = document.querySelector("#left");
  const before = text.textContent;
  const start = performance.now();
  document.querySelector("#next").click();
  return window.takes(start, () => text.textContent !== before);
}"""
FRAME = "() => window.takes(performance.now(), () => true)"


def pairs(count: int) -> list[dict[str, Any]]:
    """Half long real answers, half full of formatting; every one different."""
    with gzip.open(DEMO, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows.sort(key=lambda row: -len(row["chosen"]) - len(row["rejected"]))
    made: list[dict[str, Any]] = []
    for n in range(1, count + 1):
        row = rows[(n // 2) % len(rows)]
        left, right = row["chosen"], row["rejected"]
        if n % 2 == 0:
            left = "".join(FORMATTED.format(n=f"{n}.{k}") for k in range(8))
            right = left.replace("first", "one")
        made.append(showing(n, row["prompt"], f"{n}. {left}", f"{n}. {right}"))
    return made


def gradio_page(shown: list[dict[str, Any]]) -> FastAPI:
    """The same pairs by Gradio's own components: one click fetches and draws the next."""

    def texts(number: int) -> tuple[int, str, str, str]:
        pair = shown[number % len(shown)]
        asked = "\n\n".join(message["content"] for message in pair["messages"])
        return number + 1, asked, pair["left"]["text"], pair["right"]["text"]

    latex: list[dict[str, str | bool]] = [{"left": "$", "right": "$", "display": False}]
    with gr.Blocks(analytics_enabled=False, title="Gradio") as demo:
        number = gr.State(0)
        prompt = gr.Markdown(latex_delimiters=latex)
        with gr.Row():
            left = gr.Markdown(elem_id="left", latex_delimiters=latex)
            right = gr.Markdown(latex_delimiters=latex)
        button = gr.Button("Next", elem_id="next")
        shows = [number, prompt, left, right]
        button.click(texts, number, shows, queue=False, show_progress="hidden")
        demo.load(texts, number, shows, queue=False)
        demo.load(None, js="() => { document.documentElement.dataset.ready = 'yes'; }")
    return gr.mount_gradio_app(
        FastAPI(), demo, path="/", theme=theme(), css=CSS, head=HEAD, run_history=False
    )


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
    page.evaluate(CLOCK)
    return page


def measure(card: Page, plain: Page, votes: int) -> dict[str, list[float]]:
    """Milliseconds of each kind, taken in turn."""
    card.wait_for_selector(".rs-card[data-state=pair]")
    card.evaluate(LISTEN)
    times: dict[str, list[float]] = {"card": [], "gradio": [], "frame": []}
    for n in range(votes + WARM_UP):
        card.bring_to_front()
        card.wait_for_timeout(PAUSE_MS)
        frame = card.evaluate(FRAME)
        card.keyboard.press("1" if n % 2 else "5")
        card.wait_for_function("n => window.times.length === n", arg=n + 1)
        plain.bring_to_front()
        plain.wait_for_timeout(PAUSE_MS)
        click = plain.evaluate(CLICK)
        if n >= WARM_UP:
            times["frame"].append(frame)
            times["gradio"].append(click)
    times["card"] = card.evaluate("window.times")[WARM_UP:]
    return times


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--votes", type=int, default=200)
    parser.add_argument("--no-save", action="store_true")
    args = parser.parse_args()
    shown = pairs(args.votes + WARM_UP + 10)
    lengths = sorted(len(pair[side]["text"]) for pair in shown for side in ("left", "right"))
    load = os.getloadavg()[0]
    with (
        serve(build(FakeServer(shown))) as card_url,
        serve(gradio_page(shown)) as plain_url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        card = opened(context.new_page(), card_url)
        plain = opened(context.new_page(), plain_url)
        times = measure(card, plain, args.votes)
        version = browser.version
        browser.close()
    result = {kind: summary(values) for kind, values in times.items()}
    for kind, figures in result.items():
        print(f"{kind:8}" + "".join(f"{name} {value:8.1f}   " for name, value in figures.items()))
    if not args.no_save:
        record(
            "card",
            {
                "votes": args.votes,
                "answer_characters": {"median": lengths[len(lengths) // 2], "max": lengths[-1]},
                "chromium": version,
                "load_before": round(load, 1),
                **result,
                "gradio_to_card_p50": round(
                    result["gradio"]["p50_ms"] / result["card"]["p50_ms"], 1
                ),
            },
            "gradio",
            "playwright",
            "markdown-it-py",
        )


if __name__ == "__main__":
    main()
