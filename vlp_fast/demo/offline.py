"""gradio, told before it is imported to ask nothing of any other host, and where its files go.

Uploads and what is made of them lie in a folder of this process, which goes when it ends.
"""

from __future__ import annotations

import os
import tempfile

FOLDER = tempfile.TemporaryDirectory(prefix="vlp-fast-demo-", ignore_cleanup_errors=True)
"""Of uploads."""
SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_TEMP_DIR": FOLDER.name,
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
os.environ.update(SILENT)

import gradio  # noqa: E402

__all__ = ["FOLDER", "SILENT", "gradio"]
