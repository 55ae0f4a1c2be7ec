"""What a request carries, read with care: a JSON object of bounded length, lists of ids."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

MAX_BODY_BYTES = 1_000_000


async def limited_body(request: Request, max_bytes: int) -> bytes:
    """The request's body, read no further than it may be long."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > max_bytes:
            raise HTTPException(413, f"the body is longer than {max_bytes} bytes.")
    return bytes(received)


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    received = await limited_body(request, MAX_BODY_BYTES)
    try:
        body = json.loads(received or b"{}")
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}.") from error
    except RecursionError as error:
        raise HTTPException(400, "the body nests too deep: send a flat JSON object.") from error
    if not isinstance(body, dict):
        raise HTTPException(400, f"the body is a {type(body).__name__}, not a JSON object.")
    return body


Body = Depends(json_body)


def numbers(values: Any, name: str) -> list[int]:
    if not isinstance(values, list) or len(values) > 1000:
        raise HTTPException(400, f"{name} is {values!r:.60}: give a list of ids.")
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise HTTPException(400, f"{name} is {values!r:.60}: give a list of ids.") from error
