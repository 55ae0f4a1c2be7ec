"""Live edits: from the last key to the painted heatmap, reusing what was encoded and from scratch.

    python benchmarks/bench_live_edit.py [--edits 24] [--words 110] [--chromium /usr/bin/chromium]

Two parts, each side by side in one run on the embedded backbone: the states of an edited answer of
about 150 tokens by `LiveEncoder` and by `Backbone.states` (edits at the end, in the middle, at the
beginning, in turn); and the page itself, a real Chromium on a real server, from the key to the
frame in which the new reward is painted, with and without the reuse. Prints tables and one JSON
line, kept in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from record import record

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SENTENCES = (
    "Bring a large pot of salted water to a boil, then add the pasta and stir it now and then.",
    "Keep a cup of the water, since its starch binds the sauce.",
    "Warm the garlic slowly in the oil; it should smell sweet and never turn brown.",
    "Toss everything together over the heat for a minute and serve it at once.",
)
PROMPT = [{"role": "user", "content": "How do I cook pasta so that it does not stick?"}]
PLACES = ("end", "middle", "beginning")


def answer_of(num_words: int) -> str:
    words = " ".join(SENTENCES).split()
    return " ".join((words * (num_words // len(words) + 1))[:num_words])


def edited(text: str, number: int) -> str:
    """The text with a letter more, at the end, in the middle or at the beginning."""
    at = {"end": len(text), "middle": len(text) // 2, "beginning": 0}[PLACES[number % 3]]
    return text[:at] + "abcdefgh"[number % 8] + text[at:]


def quantiles(times_s: list[float]) -> dict[str, float]:
    ordered = sorted(times_s)
    return {
        "p50_ms": round(1000 * statistics.median(ordered), 1),
        "p95_ms": round(1000 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
    }


def encoder_times(model: Any, text: str, num_edits: int) -> dict[str, Any]:
    """Encoding alone, both ways for every edit, in turn."""
    from rm_core.live import LiveEncoder
    from rm_core.transformer import Tree

    live = LiveEncoder(model.warm())
    layer = model.head.layer
    live.states(model.encoded(PROMPT, [text])[0].input_ids)
    times: dict[str, dict[str, list[float]]] = {
        place: {"live": [], "scratch": []} for place in PLACES
    }
    worst = 0.0
    for number in range(num_edits):
        text = edited(text, number)
        answer = model.encoded(PROMPT, [text])[0]
        start = answer.response_start
        begin = time.perf_counter()
        reused, _ = live.states(answer.input_ids)
        between = time.perf_counter()
        tree = Tree(answer.input_ids[:start], [answer.input_ids[start:]])
        plain = model.warm().states([tree], [layer])[0][0][layer]
        end = time.perf_counter()
        times[PLACES[number % 3]]["live"].append(between - begin)
        times[PLACES[number % 3]]["scratch"].append(end - between)
        worst = max(worst, float((reused[start:] - plain[1:]).abs().max()))
    tokens = len(answer.input_ids) - start
    return {
        "response_tokens": tokens,
        "largest_difference": worst,
        **{
            place: {way: quantiles(found) for way, found in ways.items()}
            for place, ways in times.items()
        },
    }


@contextmanager
def served(data_dir: Path) -> Iterator[tuple[str, Any]]:
    """The application on a free port over a small project with a trained head; its settings."""
    import uvicorn

    from db import runs
    from studio.app import build_app
    from studio.services import importing, run_queue, train_job, training, workspace
    from studio.services.demo import demo_rows
    from studio.services.live_run import LiveRun
    from studio.settings import Settings

    settings = Settings.read({}, data_dir=str(data_dir), device="cpu")
    database = workspace.open_database(settings, create=True)
    # The shortest answers of the demo: the head's quality does not matter here, its cost does.
    rows = sorted(demo_rows(), key=lambda row: len(row["chosen"]) + len(row["rejected"]))[:60]
    file = data_dir / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = importing.import_file(database, file, project_name="bench")
    assert report.project_id is not None
    project_id = report.project_id
    run_id = training.request_run(database, project_id, "benchmark", {"layers": [18]})
    assert run_queue.claim(database) == run_id
    with database.write() as s:
        runs.mark_running(s, run_id, 1, "benchmark", "cpu")
    with LiveRun(database, run_id, threading.Event()) as live:
        train_job.execute(database, settings, run_id, live)
    run_queue.finish(database, run_id, "succeeded")
    config = uvicorn.Config(build_app(settings, database), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/?project={project_id}", (settings, database, project_id)
    finally:
        server.should_exit = True
        thread.join(timeout=10)


KEY_TO_PAINT = """(text) => new Promise((done) => {
  const box = document.querySelector('#playground .rs-answer textarea');
  const map = document.querySelector('#playground [data-part="source"]');
  const begin = performance.now();
  const seen = new MutationObserver(() => {
    seen.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)));
  });
  seen.observe(map, { childList: true, characterData: true, subtree: true });
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
})"""


def page_times(url: str, chromium: str, text: str, num_edits: int, lives: list[Any]) -> Any:
    """From key to paint in a browser, edits with and without the reuse in turn."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {"live": [], "scratch": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(url)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
        page.get_by_role("tab", name="Playground", exact=True).click()
        page.get_by_label("Prompt", exact=True).fill(PROMPT[0]["content"])
        page.get_by_label("Answer A", exact=True).fill(text)
        page.get_by_label("Answer B", exact=True).fill("Use more water.")
        page.get_by_role("button", name="Score", exact=True).click()
        page.wait_for_selector(".rs-heat:not([hidden])", timeout=120_000)
        for number in range(2 * num_edits):
            way = "live" if number % 2 == 0 else "scratch"
            for live in lives:
                live.reuses_prefixes = way == "live"
            text = edited(text, number // 2)
            times[way].append(page.evaluate(KEY_TO_PAINT, text) / 1000)
        browser.close()
    return {way: quantiles(found) for way, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=24)
    parser.add_argument("--words", type=int, default=110)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    text = answer_of(options.words)
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(Path(scratch) / "data") as (url, (settings, database, project_id)),
    ):
        from studio.services import scoring

        newest = scoring.newest_checkpoint(database, project_id)
        loaded = scoring.load(settings, newest)
        encoding = encoder_times(loaded.model, text, options.edits)
        lives = [scoring.live_encoder(loaded)]
        page = page_times(url, options.chromium, text, options.edits, lives)
    for place in PLACES:
        print(f"encoding, edit at the {place:10}", encoding[place])
    print("key to painted heatmap          ", page)
    record(
        "live_edit",
        {
            "edits": options.edits,
            "load_average_1min": os.getloadavg()[0],  # the times mean little where others compute
            "encoding": encoding,
            "key_to_paint": page,
        },
        "torch",
        "transformers",
        "gradio",
    )


if __name__ == "__main__":
    main()
