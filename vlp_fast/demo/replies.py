"""What the page shows when a visitor does something: results, or in one line why there are none.

Nothing is kept between two requests: each brings its pictures and its words, so that all visitors
have answers of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vlp_fast.data.broken_image import is_out_of_memory
from vlp_fast.demo.asking import Tool, ask
from vlp_fast.demo.models import Named
from vlp_fast.demo.seen import see_picture, sees
from vlp_fast.demo.shown import hint, refusal
from vlp_fast.demo.uploads import Upload, pixels_of
from vlp_fast.errors import InputError

NO_PICTURE = "Upload a picture, or choose a drawing."
NO_SECOND = "Upload a second picture."


class Replies:
    """Answers the events of a page.

    Args:
        models: of the page.
    """

    def __init__(self, models: Sequence[Named]) -> None:
        self.models = models

    def seen(self, upload: Upload | None, threshold: float) -> str:
        """HTML of what the models see in a picture, objects from this probability on."""
        if upload is None:
            return hint(NO_PICTURE)
        return _or_refusal(lambda: see_picture(self.models, pixels_of(upload), threshold))

    def said(self, tool: Tool, upload: Upload | None, words: str, *second: Upload | None) -> str:
        """HTML of what the models say to words about a picture, or about two."""
        if upload is None:
            return hint(NO_PICTURE)
        if None in second:
            return hint(NO_SECOND)
        uploads = [one for one in (upload, *second) if one is not None]
        return _or_refusal(
            lambda: ask(tool, self.models, [pixels_of(one) for one in uploads], words)
        )

    def all(self, tools: Sequence[Tool], upload: Upload | None, *fields: Any) -> list[str]:
        """What is seen, and the reply of each tool.

        Args:
            tools: of the page.
            upload: the picture. Where it is refused that is told where pictures are seen, and by
                the tools if they are nowhere.
            fields: the threshold of objects, and of each tool words and other pictures.
        """
        threshold, *rest = fields
        refused = hint(NO_PICTURE) if upload is None else _or_refusal(lambda: _checked(upload))
        if refused:
            return [refused, *("" if sees(self.models) else refused for _ in tools)]
        given = iter(rest)
        own = [[next(given) for _ in range(tool.pictures)] for tool in tools]
        return [
            self.seen(upload, threshold),
            *(self.said(tool, upload, *mine) for tool, mine in zip(tools, own, strict=True)),
        ]


def _checked(upload: Upload) -> str:
    """Nothing, of a picture that can be decoded."""
    pixels_of(upload)
    return ""


def _or_refusal(make: Callable[[], str]) -> str:
    """HTML, or one line where what was given cannot be used, or memory ran out."""
    try:
        return make()
    except (InputError, ValueError) as error:
        return refusal(error)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        return refusal("there is not enough memory for this picture; give a smaller one")
