"""Serves the page to browsers of this machine, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import fastapi
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

from vlp_fast.demo.offline import gradio as gr
from vlp_fast.demo.port import HOST
from vlp_fast.demo.style import CSS, FONT, MONO
from vlp_fast.demo.uploads import BYTES

POLICY = "; ".join(
    (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
        "frame-ancestors 'self'",
        "form-action 'self'",
    )
)
"""Browsers ask this server alone for scripts, styles, fonts and pictures, and tell no other one
anything; gradio's scripts make functions of templates."""
GRACE = 1
"""Seconds that open pages have when the server ends; they would stay for ever."""

Message = MutableMapping[str, Any]
App = Callable[[Message, Any, Callable[[Message], Awaitable[None]]], Awaitable[None]]


def serve(page: Any, taken: socket.socket) -> None:
    """Serve a page at a port that was taken.

    Args:
        page: `gradio.Blocks`.
        taken: as of `port.listen`.
    """
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        page,
        path="/",
        server_name=HOST,
        server_port=taken.getsockname()[1],
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=BYTES,
        ssr_mode=False,
        mcp_server=False,
        theme=gr.themes.Default(primary_hue="indigo", font=FONT, font_mono=MONO),
        css=CSS,
    )
    # A page of a stranger's that calls itself by a name that leads here has no business here.
    ours = _OwnPagesOnly(_WithPolicy(app))
    trusted = TrustedHostMiddleware(ours, allowed_hosts=[HOST, "localhost"])
    config = uvicorn.Config(
        trusted, log_config=None, log_level="critical", timeout_graceful_shutdown=GRACE
    )
    uvicorn.Server(config).run(sockets=[taken])


class _OwnPagesOnly:
    """An application that takes nothing which a browser sends from a page of others.

    A form of any page may send files here; browsers say of which page it is.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(
        self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        headers = [(name, value.decode("latin-1")) for name, value in scope.get("headers", ())]
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value.partition("://")[2] for name, value in headers if name == b"origin"]
        if all([origin] == hosts for origin in origins):
            await self.app(scope, receive, send)
            return
        await PlainTextResponse("sent by a page of others", 403)(scope, receive, send)


class _WithPolicy:
    """An application whose answers tell browsers to ask nobody else."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(
        self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode("ascii"))
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        await self.app(scope, receive, with_policy)
