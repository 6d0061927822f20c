"""Drawn faces for the twins: a person is a set of proportions, a picture one pose, expression and light of that person.

Lengths are in units of the face (about half its height); x points right, y down, the origin is the middle of the face. Faces are drawn with
+, −, ×, ÷ and √ alone, so the same seed gives the same bytes everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from dlbooks.datasets._drawing import cosine, sine

HAIR = ((25, 20, 18), (70, 45, 25), (120, 75, 40), (190, 150, 90), (150, 60, 30), (140, 140, 140))
IRIS = ((60, 40, 25), (70, 100, 140), (80, 110, 70))
DARK, LIGHT = np.array((95.0, 66, 52)), np.array((245.0, 208, 185))  # skin lies between them
GRAY = np.array((0.299, 0.587, 0.114))


@dataclass(frozen=True)
class Face:
    """``image`` uint8 ``[height, width, 3]`` (gray: 1), ``box`` of the face without hair and ears [ymin, xmin, ymax, xmax] and ``landmarks`` ``[5, 2]`` = (y, x)
    of eye, eye, nose, corner, corner of the mouth, from left to right in the picture; both in 0 … 1 of the picture, and perhaps outside."""

    image: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray


def between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def person(rng: np.random.Generator) -> SimpleNamespace:
    """The proportions and colors that stay with one person."""
    tone = rng.random()
    skin = DARK + (LIGHT - DARK) * tone + 6 * (2 * rng.random(3) - 1)
    return SimpleNamespace(
        skin=skin,
        hair=np.array(HAIR[int(rng.integers(len(HAIR)))]) * between(rng, 0.8, 1.2) * (0.4 + 0.6 * tone),
        iris=np.array(IRIS[int(rng.integers(len(IRIS)))]),
        lips=skin * np.array((0.85, 0.5, 0.5)),
        half_width=between(rng, 0.58, 0.86),
        half_height=between(rng, 0.86, 1.12),
        eye_x=1.25 * between(rng, 0.17, 0.29),
        eye_y=between(rng, -0.18, -0.03),
        eye=between(rng, 0.05, 0.10),
        brow=between(rng, 0.02, 0.055),
        brow_slope=between(rng, -0.25, 0.25),
        brow_y=between(rng, 0.09, 0.17),
        nose=between(rng, 0.16, 0.32),
        nose_width=between(rng, 0.06, 0.15),
        mouth_y=between(rng, 0.38, 0.52),
        mouth=between(rng, 0.14, 0.30),
        lip=between(rng, 0.02, 0.07),
        hairline=between(rng, 0.4, 0.8),
        parting=between(rng, -0.35, 0.35),
        beard=rng.random() < 0.25,
        glasses=rng.random() < 0.25,
        long_hair=rng.random() < 0.5,
    )


class Brush:
    """Paints soft-edged shapes on a picture that the face's frame (``x``, ``y``: its coordinates of every pixel) lies over."""

    def __init__(self, canvas: np.ndarray, x: np.ndarray, y: np.ndarray, pixels: float):
        self.canvas, self.x, self.y, self.pixels = canvas, x, y, pixels

    def inside(self, distance):
        """Cover of every pixel by a shape whose border lies at distance 0, its inside above."""
        return np.clip(distance * self.pixels + 0.5, 0, 1)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, ring: float = 0.0):
        """A filled ellipse, or its outline ``ring`` to either side."""
        across, down = (self.x - x) / radius_x, (self.y - y) / radius_y
        inward = (1 - np.sqrt(across * across + down * down)) * min(radius_x, radius_y)
        return self.inside(ring - np.abs(inward) if ring else inward)

    def bar(self, x: float, y: float, to_x: float, to_y: float, half: float):
        """A line with round ends, ``half`` to either side."""
        along_x, along_y = to_x - x, to_y - y
        place = np.clip(((self.x - x) * along_x + (self.y - y) * along_y) / (along_x * along_x + along_y * along_y + 1e-9), 0, 1)
        off_x, off_y = self.x - x - place * along_x, self.y - y - place * along_y
        return self.inside(half - np.sqrt(off_x * off_x + off_y * off_y))

    def lens(self, x: float, y: float, half_width: float, half_height: float, bend: float):
        """A mouth: pointed at both ends, which lie ``bend`` above its middle."""
        part = (self.x - x) / half_width
        part = part * part
        return self.inside(half_height * (1 - part) - np.abs(self.y - y + bend * part)) * (part < 1)

    def paint(self, cover, color, strength: float = 1.0):
        if self.canvas.shape[2] == 1:
            color = np.sum(color * GRAY)  # no dot product: its last bit differs between machines
        self.canvas += (color - self.canvas) * (strength * cover)[..., None]


def face(
    who: SimpleNamespace, rng: np.random.Generator, height: int, width: int, *, scale: float = 0.34, shift: float = 0.05, gray: bool = False
) -> Face:
    """A picture of ``who`` before a plain ground: ``scale`` · height is the unit of length, the face's middle lies up to ``shift`` · size off the picture's."""
    unit = scale * height * between(rng, 0.93, 1.07)  # pixels
    middle_x = width * (0.5 + between(rng, -shift, shift))
    middle_y = height * (0.52 + between(rng, -shift, shift))
    roll, yaw, pitch = between(rng, -0.027, 0.027), between(rng, -0.10, 0.10), between(rng, -0.05, 0.05)  # turns, units, units
    smile, opening, raised, lids = between(rng, -0.05, 0.07), between(rng, 0, 1), between(rng, -0.02, 0.04), between(rng, 0.45, 1)
    gaze = between(rng, -0.02, 0.02)
    c, s = float(cosine(roll)), float(sine(roll))
    x = (np.arange(width) + 0.5 - middle_x) / unit
    y = (np.arange(height)[:, None] + 0.5 - middle_y) / unit
    x, y = x * c + y * s, y * c - x * s

    ground = between(rng, 60, 130) + between(rng, -20, 20) * (np.arange(height)[:, None, None] / height - 0.5)
    canvas = np.zeros((height, width, 1 if gray else 3)) + ground
    brush = Brush(canvas, x, y, unit)
    w, h = who.half_width, who.half_height
    if who.long_hair:
        brush.paint(np.maximum(brush.ellipse(0, 0, w + 0.2, h + 0.12), brush.bar(0, 0.1, 0, 1.0, w + 0.17)), 0.85 * who.hair)
    brush.paint(brush.ellipse(0, h + 0.85, 1.3, 0.75), between(rng, 30, 200) * np.ones(3))
    brush.paint(brush.bar(0, 0.4, 0, h + 0.15, 0.6 * w), 0.8 * who.skin)
    for side in (-1, 1):
        brush.paint(brush.ellipse(side * w - 0.3 * yaw, who.eye_y + 0.12, 0.1, 0.2), 0.88 * who.skin)
    round_off = np.clip((x - yaw) / w, -1, 1)  # the face turns away from the light at both sides
    head = brush.ellipse(0, 0, w, h)
    brush.paint(head, who.skin)
    canvas *= 1 - 0.22 * (head * round_off * round_off)[..., None]
    top = -who.hairline * h
    line = top + (-0.1 - top) * round_off * round_off + 0.4 * who.parting * round_off * (1 - round_off * round_off) + pitch
    brush.paint(brush.ellipse(0, -0.06, w + 0.07, h + 0.05) * brush.inside(line - y), who.hair)

    eye_y, mouth_y, nose_y = who.eye_y + pitch, who.mouth_y + pitch, who.eye_y + who.nose + 1.3 * pitch
    if who.beard:
        brush.paint(head * brush.inside(y - mouth_y + 0.2 - 0.35 * round_off * round_off), who.hair, 0.75)
    eyes = [side * who.eye_x + yaw for side in (-1, 1)]
    for side, at in zip((-1, 1), eyes, strict=True):
        open_eye = brush.ellipse(at, eye_y, 1.5 * who.eye, who.eye * lids)
        brush.paint(brush.ellipse(at, eye_y, 2.0 * who.eye, 1.6 * who.eye), 0.8 * who.skin, 0.7)
        brush.paint(open_eye, np.array((235.0, 235, 230)))
        brush.paint(open_eye * brush.ellipse(at + gaze, eye_y, 0.8 * who.eye, 0.8 * who.eye), who.iris)
        brush.paint(open_eye * brush.ellipse(at + gaze, eye_y, 0.4 * who.eye, 0.4 * who.eye), np.array((15.0, 12, 12)))
        brow_y, tilt = eye_y - who.brow_y - raised, who.brow_slope * 0.13
        brush.paint(brush.bar(at - side * 0.13, brow_y + tilt, at + side * 0.13, brow_y - tilt, who.brow), 0.8 * who.hair)
        if who.glasses:
            brush.paint(brush.ellipse(at, eye_y + 0.02, 0.85 * who.eye_x, 0.17, ring=0.018), np.array((30.0, 28, 28)))
    if who.glasses:
        brush.paint(brush.bar(eyes[0] + 0.85 * who.eye_x, eye_y, eyes[1] - 0.85 * who.eye_x, eye_y, 0.018), np.array((30.0, 28, 28)))
    brush.paint(brush.bar(yaw, eye_y + 0.05, 1.6 * yaw, nose_y, 0.35 * who.nose_width), 1.08 * who.skin, 0.8)
    brush.paint(brush.lens(1.6 * yaw, nose_y + 0.02, 1.3 * who.nose_width, 0.045, -0.02), 0.62 * who.skin)
    brush.paint(brush.lens(yaw, mouth_y, who.mouth, who.lip + 0.02 + 0.07 * opening, smile), who.lips)
    brush.paint(brush.lens(yaw, mouth_y, 0.85 * who.mouth, 0.012 + 0.06 * opening, smile), 0.35 * who.lips)

    light = between(rng, 0.78, 1.22)
    slant_x, slant_y = between(rng, -25, 25), between(rng, -25, 25)
    canvas *= light
    canvas += (slant_x * (np.arange(width) / width - 0.5) + slant_y * (np.arange(height)[:, None] / height - 0.5))[..., None]
    canvas += 6 * (2 * rng.random((3, *canvas.shape)).sum(0) - 3)  # deviation 6, nearly Gaussian
    image = np.rint(np.clip(canvas, 0, 255)).astype(np.uint8)

    points = np.array([(eye_y, eyes[0]), (eye_y, eyes[1]), (nose_y, 1.6 * yaw), *((mouth_y - smile, yaw + k * who.mouth) for k in (-1, 1))])
    landmarks = unit * np.stack([points[:, 0] * c + points[:, 1] * s, points[:, 1] * c - points[:, 0] * s], 1) + (middle_y, middle_x)
    reach_x, reach_y = unit * np.sqrt(w * w * c * c + h * h * s * s), unit * np.sqrt(w * w * s * s + h * h * c * c)
    box = np.array((middle_y - reach_y, middle_x - reach_x, middle_y + reach_y, middle_x + reach_x)) / (height, width, height, width)
    return Face(image, box, landmarks / (height, width))
