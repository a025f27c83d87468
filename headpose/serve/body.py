"""The picture of a request: from its body or from a form, within limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

if TYPE_CHECKING:
    from starlette.types import Message

FIELD = "image"
"""Name of the form's field."""
_FORM_BYTES = 1 << 16  # of a form beside its picture


async def picture_of(request: Request, largest_bytes: int, seconds: float) -> bytes:
    """Return the content of the picture file that a request carries.

    Args:
        request: Request whose body is a picture, or a form (multipart/form-data) with the field ``image``.
        largest_bytes: Maximum size.
        seconds: Maximum time for receiving it.

    Raises:
        HTTPException: It is too large (413), too slow (408), or a form without a picture (400).
        ClientDisconnect: The client hung up.
    """
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    most = largest_bytes + (_FORM_BYTES if is_form else 0)
    try:
        body = await asyncio.wait_for(_read(request, most), seconds)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the picture took longer than {seconds:g} seconds to arrive") from None
    data = await _from_form(request, body) if is_form else body
    if len(data) > largest_bytes:
        raise _too_large(largest_bytes)
    return data


async def _read(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise _too_large(most)
    chunks, total = [], 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


async def _from_form(request: Request, body: bytes) -> bytes:
    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    wrong = HTTPException(400, f"the form needs one file in the field {FIELD}")
    try:
        async with Request(request.scope, replay).form(max_files=1, max_fields=8) as form:
            file = form.get(FIELD)
            if not isinstance(file, UploadFile):
                raise wrong
            return await file.read()
    except HTTPException as error:  # Starlette's own, for a damaged form
        raise HTTPException(400, str(error.detail)) from None
    except (MultiPartException, KeyError, ValueError):
        raise wrong from None


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the picture is too large: the limit is {most / 1e6:g} MB")
