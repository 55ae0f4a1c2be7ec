"""People who vote over HTTP as the label page does: pairs preloaded, ids made here, sent again.

    voter = Voter("ann", server.url, project_id, random.Random(1))
    await voter.work(until=stopped)
    voter.acknowledged          # what the server said is stored

A voter never gives up on a vote: what was not acknowledged is sent again under the same id, also
to a server that was started meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.load.label_server import HEADER

PRELOADED = 3
PAUSE_S = 0.02  # before something that failed is sent again
CHOICES = ("left", "right", "tie", "both_bad")


@dataclass
class Voter:
    """One person and what happened to them.

    Attributes:
        think_s: draws how long the person looks at a pair.
        resend_share: how many acknowledged votes are sent a second time, as if the answer was lost.
        acknowledged: vote id -> (showing id, choice) of all that the server said are stored.
        statuses: what the server answered to votes.
        failures: requests that got no answer, or 503, and were sent again.
        refusals: final errors (4xx), with their sentences.
        latencies_s: of answered requests, by route.
    """

    name: str
    url: str
    project_id: int
    chance: random.Random
    think_s: Callable[[random.Random], float] = lambda _chance: 0.0
    resend_share: float = 0.1
    acknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    is_exhausted: bool = False
    _held: list[dict[str, Any]] = field(default_factory=list)

    async def work(self, until: asyncio.Event) -> None:
        """Vote until told to stop or until nothing is left; a vote begun is brought to its end."""
        headers = {HEADER: self.name}
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=30, limits=limits
        ) as client:
            while not until.is_set():
                await self._fill(client, until)
                if not self._held:
                    if self.is_exhausted:
                        return
                    continue
                await asyncio.sleep(self.think_s(self.chance))
                await self._vote(client, self._held.pop(0))

    async def _fill(self, client: httpx.AsyncClient, until: asyncio.Event) -> None:
        if len(self._held) >= PRELOADED:
            return
        held = [("exclude", each["showing_id"]) for each in self._held]
        query = [("count", PRELOADED - len(self._held)), *held]
        answer = await self._send(client, "next", until, params=query)
        if answer is not None:
            known = {each["showing_id"] for each in self._held}
            fresh = [each for each in answer["pairs"] if each["showing_id"] not in known]
            self._held += fresh
            self.is_exhausted = not self._held

    async def _vote(self, client: httpx.AsyncClient, showing: dict[str, Any]) -> None:
        vote = {
            "vote_id": str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            "showing_id": showing["showing_id"],
            "choice": self.chance.choice(CHOICES),
            "duration_ms": 1000,
        }
        for _ in range(2 if self.chance.random() < self.resend_share else 1):
            answer = await self._send(client, "vote", None, json=vote)
            if answer is None:
                return
            self.statuses[answer["status"]] += 1
            self.acknowledged[vote["vote_id"]] = (vote["showing_id"], vote["choice"])

    async def _send(
        self, client: httpx.AsyncClient, route: str, until: asyncio.Event | None, **content: Any
    ) -> dict[str, Any] | None:
        """The answer, however often it must be asked for; None when refused or told to stop."""
        path = f"/api/projects/{self.project_id}/label/{route}"
        while until is None or not until.is_set():
            begin = time.perf_counter()
            try:
                method = "POST" if "json" in content else "GET"
                answer = await client.request(method, path, **content)
            except httpx.HTTPError as error:
                self.failures[type(error).__name__] += 1
            else:
                if answer.status_code == 200:
                    self.latencies_s.setdefault(route, []).append(time.perf_counter() - begin)
                    body: dict[str, Any] = answer.json()
                    return body
                if answer.status_code < 500:
                    self.refusals.append(f"{answer.status_code} {answer.json()['error']}")
                    return None
                self.failures[str(answer.status_code)] += 1
            await asyncio.sleep(PAUSE_S)
        return None
