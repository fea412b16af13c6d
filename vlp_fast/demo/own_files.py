"""Keeps gradio to the files of this process.

A request may name any file of this machine, or an address, in place of an upload, in any field.
gradio refuses that for applications that it launched itself, and for no other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlp_fast.demo.offline import FOLDER
from vlp_fast.demo.offline import gradio as gr
from vlp_fast.demo.uploads import Upload, upload_of


def own_upload_of(payload: Any) -> Upload | None:
    """As `upload_of`, of uploads alone: what calls itself a stream was moved by nobody."""
    upload = upload_of(payload)
    if upload is not None:
        _check(upload.path)
    return upload


def keep_to_own_files(page: Any) -> None:
    """Have no component of a page copy or fetch what lies elsewhere."""
    for component in page.blocks.values():
        move = component.async_move_resource_to_block_cache
        component.async_move_resource_to_block_cache = _checked(move)


def _checked(move: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def move_own(place: Any) -> Any:
        _check(place)
        return await move(place)

    return move_own


def _check(place: Any) -> None:
    """Refuse all but files in the folder of this process."""
    own = Path(FOLDER.name).resolve()
    if "://" in str(place) or not Path(place).resolve().is_relative_to(own):
        raise gr.Error("that picture was not uploaded", print_exception=False)
