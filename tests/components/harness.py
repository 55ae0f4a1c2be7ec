"""The components alone in a page, beside JSON routes that a test can make fail.

`python -m tests.components.harness PAIRS.jsonl.gz` serves it on http://127.0.0.1:7999 to look at.
The fake keeps pairs and votes in memory and promises what the real routes promise: a vote id
counts once, a showing keeps its sides, undo gives the pair back.
"""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

from studio.components.token_heatmap import heatmap_value, token_heatmap
from studio.components.vote_card import vote_card, vote_card_value
from studio.services.rendering import render_markdown
from studio.theme import CSS, HEAD, theme

SCOPE = "1/20260102T030405000678/Zoë"


@dataclass
class FakeServer:
    """Pairs to judge, votes received, and the faults to commit."""

    pairs: list[dict[str, Any]]
    votes: dict[str, dict] = field(default_factory=dict)  # by vote_id, in order, live ones only
    num_vote_requests: int = 0
    refuse_next: str = ""  # answer 409 with this sentence, once
    fail: bool = False  # answer 503
    lose_answers: int = 0  # store the vote, then answer 503, this many times
    lose_undo: int = 0  # the same of an undo
    held_back: str = ""  # answer 403 with this sentence: somebody else is signed in
    proxy_status: int = 0  # what a proxy answers in the studio's place, with a page of its own
    undo_delay_s: float = 0.0
    renewed: list[list[int]] = field(default_factory=list)  # what each request asked to renew
    scopes: set[str] = field(default_factory=set)  # what votes said of whose page they are from
    taken_back: set[str] = field(default_factory=set)  # ids of votes undone
    past_guidelines: dict[int, str] = field(default_factory=dict)
    delay_s: float = 0.0
    settings: dict[str, Any] = field(default_factory=lambda: settings())
    edits: dict[str, dict] = field(default_factory=dict)  # by vote_id

    def showings(self) -> list[dict]:
        judged = {vote["showing_id"] for vote in self.votes.values()}
        return [pair for pair in self.pairs if pair["showing_id"] not in judged]

    def progress(self) -> dict:
        judged = [v for v in self.votes.values() if v["choice"] not in ("skip", "flag")]
        return {
            "judged_by_you": len(judged),
            "open_for_you": len(self.showings()),
            "judged": len(judged),
            "total": len(self.pairs),
            "votes_by_people": len(judged),
            "votes_imported": 0,
            "skipped": sum(v["choice"] == "skip" for v in self.votes.values()),
            "flagged": sum(v["choice"] == "flag" for v in self.votes.values()),
            "surplus": 0,
        }


def settings(**changes: Any) -> dict[str, Any]:
    """What the card asks for beside the pairs; by default nothing beyond the verdict."""
    guidelines = {"version": 1, "text": "", "html": ""}
    return {
        "project": "kindness",
        "reasons": [],
        "skip_reasons": [],
        "aspects": [],
        "guidelines": guidelines,
        "wanted_votes": 1,
        "max_comment": 2000,
    } | changes


def guidelines(version: int, text: str) -> dict[str, Any]:
    return {"version": version, "text": text, "html": render_markdown(text, is_document=True)}


def rendered(text: str) -> dict[str, str]:
    return {"text": text, "html": render_markdown(text)}


def showing(number: int, messages: list[dict], left: str, right: str) -> dict[str, Any]:
    return {
        "showing_id": number,
        "pair_id": 1000 + number,
        "shown_at": "2026-01-02T00:00:00+00:00",
        "messages": [{**each, "html": render_markdown(each["content"])} for each in messages],
        "left": rendered(left),
        "right": rendered(right),
        "lease_until": "2099-01-01T00:00:00+00:00",
    }


def numbered_pairs(count: int) -> list[dict[str, Any]]:
    return [
        showing(n, [{"role": "user", "content": f"Question {n}?"}], f"Left {n}", f"Right {n}")
        for n in range(1, count + 1)
    ]


def _routes(app: FastAPI, fake: FakeServer) -> None:
    base = "/api/projects/{project_id}/label"

    def broken() -> JSONResponse:
        return JSONResponse({"error": "the database is busy"}, 503)

    @app.get(base + "/next")
    def next_pairs(count: int, request: Request):
        if fake.fail:
            return broken()
        exclude = {int(value) for value in request.query_params.getlist("exclude")}
        free = [pair for pair in fake.showings() if pair["showing_id"] not in exclude]
        return {"pairs": free[:count], "progress": fake.progress()}

    @app.post(base + "/vote")
    def cast_vote(vote: dict, request: Request):
        fake.num_vote_requests += 1
        fake.scopes.add(unquote(request.headers.get("x-studio-scope", "")))
        if fake.proxy_status:
            return HTMLResponse("<h1>nginx</h1>", fake.proxy_status)
        if fake.held_back:
            return JSONResponse({"error": fake.held_back}, 403)
        time.sleep(fake.delay_s)
        if fake.fail:
            return broken()
        if fake.refuse_next:
            sentence, fake.refuse_next = fake.refuse_next, ""
            return JSONResponse({"error": sentence, "final": True}, 409)
        status = "duplicate" if vote["vote_id"] in fake.votes else "stored"
        fake.votes.setdefault(vote["vote_id"], vote)
        if fake.lose_answers:
            fake.lose_answers -= 1
            return broken()
        return {
            "status": status,
            "vote_id": vote["vote_id"],
            "progress": fake.progress(),
            "reveal": {"left": "model-one", "right": None},
            "set_aside": {"reasons": [], "aspects": []},
        }

    @app.get(base + "/settings")
    def card_settings():
        return broken() if fake.fail else fake.settings

    @app.post(base + "/edit")
    def edit(body: dict):
        fake.num_vote_requests += 1
        if fake.fail:
            return broken()
        fake.edits.setdefault(body["vote_id"], body)
        if fake.lose_answers:
            fake.lose_answers -= 1
            return broken()
        return {
            "status": "stored",
            "vote_id": body["vote_id"],
            "pair_id": 5000,
            "progress": fake.progress(),
        }

    @app.post(base + "/undo")
    def undo(body: dict):
        if fake.fail:
            return broken()
        time.sleep(fake.undo_delay_s)
        vote_id = body["vote_id"]
        was_standing = vote_id not in fake.taken_back
        fake.taken_back.add(vote_id)
        vote = fake.votes.pop(vote_id, None)
        is_edit = fake.edits.pop(vote_id, None) is not None
        pair = next((p for p in fake.pairs if vote and p["showing_id"] == vote["showing_id"]), None)
        if fake.lose_undo:
            fake.lose_undo -= 1
            return broken()
        return {
            "retracted": vote_id,
            "was_standing": was_standing and bool(vote or is_edit),
            "showing": pair,
            "progress": fake.progress(),
        }

    @app.get(base + "/history")
    def past_votes(limit: int):
        return {"votes": [{"vote_id": each} for each in list(fake.votes)[::-1][:limit]]}

    @app.get(base + "/guidelines/{version}")
    def past_guidelines(version: int):
        found = guidelines(version, fake.past_guidelines[version])
        return found | {"created_at": "2026-01-03T00:00:00+00:00"}

    @app.post(base + "/renew")
    def renew(body: dict):
        fake.renewed.append(body["showing_ids"])
        return {"renewed": body["showing_ids"]}


def build(fake: FakeServer, comparison: dict | None = None) -> FastAPI:
    app = FastAPI()
    _routes(app, fake)
    with gr.Blocks(analytics_enabled=False, title="Harness") as demo:
        with gr.Tabs():
            with gr.Tab("Label"):
                vote_card(vote_card_value(1, SCOPE))
                gr.Textbox(label="Notes", elem_id="notes")
            with gr.Tab("Heatmap"):
                token_heatmap(heatmap_value(comparison) if comparison else "")
        demo.load(None, js="() => { document.documentElement.dataset.ready = 'yes'; }")
    return gr.mount_gradio_app(
        app, demo, path="/", theme=theme(), css=CSS, head=HEAD, run_history=False, footer_links=[]
    )


@contextmanager
def serve(app: FastAPI, port: int | None = None) -> Iterator[str]:
    """The app on a loopback port until the block ends."""
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=5)


def word_tokens(text: str) -> list[dict[str, Any]]:
    """Tokens in the contract's form with made-up scores that sum to something."""
    import math
    import re

    tokens, start = [], 0
    for i, piece in enumerate(re.findall(r"\s*\S{1,7}|\s+", text)):
        share = math.sin(1.7 * i) * 0.04 + 0.002 * math.cos(i / 9)
        tokens.append(
            {
                "text": piece,
                "start": start,
                "end": start + len(piece),
                "value": share * 12 + 0.3,
                "contribution": share,
                "pieces": [],
            }
        )
        start += len(piece)
    end = {"text": "", "start": start, "end": start, "value": 0.9, "contribution": 0.62}
    return [*tokens, {**end, "pieces": []}]


def comparison_of(*responses: str) -> dict[str, Any]:
    """What `services.playground.compare` gives, with made-up scores."""
    answers = []
    for response in responses:
        tokens = word_tokens(response)
        reward = sum(token["contribution"] for token in tokens)
        answers.append(
            {
                "reward": reward,
                "tokens": tokens,
                "prompt_value": 0.12,
                "end_term": 0.6,
                "warnings": [],
            }
        )
    count = len(answers)
    rewards = [answer["reward"] for answer in answers]
    return {
        "checkpoint": {"id": 3},
        "backbone": "SmolLM2-135M-Instruct",
        "device": "cpu",
        "readout": "mean+last",
        "layer": 18,
        "prob_better": [[0.5 + (a - b) / 4 for b in rewards] for a in rewards],
        "difference_std": [[0.0 if a == b else 0.3 for b in range(count)] for a in range(count)],
        "num_tokens": 40,
        "num_encoded": 2,
        "elapsed_ms": 31.2,
        "answers": answers,
    }


def judged(*answers: list[tuple[str, float]]) -> dict[str, Any]:
    """A comparison of answers given as tokens with contributions; the end token's text is ""."""
    comparison = comparison_of(*("".join(text for text, _ in shares) for shares in answers))
    for answer, shares in zip(comparison["answers"], answers, strict=True):
        at, tokens = 0, []
        for text, share in shares:
            token = {"text": text, "start": at, "end": at + len(text), "value": 0.1}
            tokens.append(token | {"contribution": share, "pieces": []})
            at += len(text)
        answer |= {"tokens": tokens, "reward": sum(share for _, share in shares)}
    rewards = [answer["reward"] for answer in comparison["answers"]]
    comparison["prob_better"] = [[0.5 + (a - b) / 10 for b in rewards] for a in rewards]
    return comparison


def main() -> None:
    with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = [
        showing(n, row["prompt"], row["chosen"], row["rejected"])
        for n, row in enumerate(rows, start=1)
    ]
    longest = max(rows[:80], key=lambda row: len(row["chosen"]))
    asked = settings(
        reasons=["More accurate", "Clearer", "Safer", "Follows the instructions"],
        skip_reasons=["I cannot judge this", "Not my language", "Too long"],
        aspects=["Helpful", "Correct"],
        guidelines=guidelines(
            2, "# What to prefer\n\n- **True** before *nice*\n- `code` that runs"
        ),
    )
    fake = FakeServer(pairs, settings=asked)
    app = build(fake, comparison_of(longest["chosen"], longest["rejected"]))
    with serve(app, 7999):
        threading.Event().wait()


if __name__ == "__main__":
    main()
