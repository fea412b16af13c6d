"""Draws the picture of a scene: a pale ground with faint marks, then the objects back to front.

The same scene gives the same pixels: what is random about the ground follows from its clutter key.
Marks differ from the ground by a few percent of lightness and are smaller than any object.
"""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageOps

from vlp_fast.data.randomness import generator
from vlp_fast.data.world.scene import Scene, SceneObject
from vlp_fast.data.world.shapes import interior, silhouette, texture

RGB = tuple[int, int, int]

PALETTE: dict[str, RGB] = {
    "red": (218, 38, 42),
    "green": (26, 140, 62),
    "blue": (36, 78, 206),
    "yellow": (250, 204, 22),
    "purple": (128, 46, 168),
    "cyan": (22, 188, 206),
    "pink": (246, 106, 172),
    "black": (40, 42, 48),
}
GROUNDS: dict[str, RGB] = {
    "grass": (190, 216, 160),
    "sand": (232, 214, 176),
    "snow": (236, 240, 244),
    "water": (176, 208, 232),
}
LIGHT: RGB = (255, 255, 255)  # stripes and dots
_RIM = 0.52  # lightness of the rim over that of the object
_GROUND_SCALE = 2  # the ground is drawn this much larger, then reduced


def draw(scene: Scene) -> Image.Image:
    """Returns the picture, mode "RGB", of `scene.width` by `scene.height` pixels."""
    canvas = _ground(scene)
    for item in scene.objects:
        _draw_object(canvas, item)
    return canvas


def _draw_object(canvas: Image.Image, item: SceneObject) -> None:
    place, size = item.box[:2], (item.width, item.height)
    colour = _lightened(PALETTE[item.colour], item.shade)
    rim = tuple(round(_RIM * channel) for channel in colour)
    canvas.paste(rim, place, silhouette(item.kind, *size))
    canvas.paste(colour, place, interior(item.kind, *size))
    pattern = texture(item.kind, item.texture, *size)
    if pattern is not None:
        canvas.paste(LIGHT, place, pattern)


def _ground(scene: Scene) -> Image.Image:
    """A soft vertical gradient with the marks of its kind of ground."""
    size = (_GROUND_SCALE * scene.width, _GROUND_SCALE * scene.height)
    base = _lightened(GROUNDS[scene.background], scene.shade)
    canvas = ImageOps.colorize(_ramp(size), _lightened(base, -5), _lightened(base, 5))
    pen = ImageDraw.Draw(canvas)
    rng = generator(scene.clutter.key, 0, scene.image_id, "clutter")
    places = rng.random((scene.clutter.marks, 2)) * size
    lengths = rng.uniform(0.025, 0.055, scene.clutter.marks) * (size[0] * size[1]) ** 0.5
    tones = rng.integers(12, 27, scene.clutter.marks)
    marks = zip(places.tolist(), lengths.tolist(), tones.tolist(), strict=True)
    for (x, y), length, tone in marks:
        _MARKS[scene.background](pen, x, y, length, _lightened(base, -tone))
    return canvas.reduce(_GROUND_SCALE)


def _tuft(pen: ImageDraw.ImageDraw, x: float, y: float, length: float, ink: RGB) -> None:
    for lean in (-0.5, 0.0, 0.5):
        pen.line((x, y, x + lean * length, y - length), fill=ink, width=2)


def _pebble(pen: ImageDraw.ImageDraw, x: float, y: float, length: float, ink: RGB) -> None:
    pen.ellipse((x, y, x + 0.55 * length, y + 0.4 * length), fill=ink)


def _track(pen: ImageDraw.ImageDraw, x: float, y: float, length: float, ink: RGB) -> None:
    pen.line((x, y, x + 1.2 * length, y - 0.35 * length), fill=ink, width=3)


def _ripple(pen: ImageDraw.ImageDraw, x: float, y: float, length: float, ink: RGB) -> None:
    for start in (x - length, x):
        pen.arc((start, y, start + length, y + 0.7 * length), 20, 160, fill=ink, width=2)


_MARKS = {"grass": _tuft, "sand": _pebble, "snow": _track, "water": _ripple}


@lru_cache(maxsize=64)
def _ramp(size: tuple[int, int]) -> Image.Image:
    return Image.linear_gradient("L").resize(size)


def _lightened(colour: RGB, amount: int) -> RGB:
    red, green, blue = (min(255, max(0, channel + amount)) for channel in colour)
    return red, green, blue
