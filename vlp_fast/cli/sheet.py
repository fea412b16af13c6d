"""What was found, as a picture: drawn by matplotlib where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlp_fast.cli.recorded import note
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError


def draw_sheet(
    path: Path,
    size: tuple[float, float],
    draw: Callable[[Any], None],
    *,
    option: str = "--out",
) -> None:
    """Write a PNG, and say where it is; a line says so where it cannot be drawn.

    Args:
        path: the file, which is replaced.
        size: width and height in inches.
        draw: draws on a figure.
        option: what gives the place, for the message.

    Raises:
        InputError: if the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        print(f"{printable(path.name)} needs matplotlib: pip install 'vlp-fast[viz]'")
        return
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # texts are not mathematics
    from matplotlib import pyplot

    from vlp_fast.engine.glyphs import fit_fonts
    from vlp_fast.whole_file import write_whole

    figure = pyplot.figure(figsize=size, layout="constrained")
    try:
        draw(figure)
        if line := fit_fonts(figure):
            note(f"{path.name}: {line}")
        write_whole(path, lambda partial: figure.savefig(partial, dpi=80, format="png"))
    except OSError as error:
        raise InputError(
            f"{printable(path)}: cannot be written ({error.strerror}); give another place with "
            f"{option}"
        ) from None
    finally:
        pyplot.close(figure)
    print(f"picture: {printable(path)}")
