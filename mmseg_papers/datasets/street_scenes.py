"""Synthetic street scenes in the Cityscapes folder layout.

A scene is a small 3-D world seen by a pinhole camera in a car: a straight street with everything
that Cityscapes labels. World points are ``(x, y, z)`` in metres: ``x`` to the right of the middle
of the road, ``y`` up from the ground, ``z`` ahead of the camera. Each object draws the same
polygons into the image and into the label, from far to near.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

__all__ = ["draw_street_scene", "write_street_scenes"]

(
    ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN,
    SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE,
) = range(19)  # fmt: skip
IGNORED = 255

MIN_HEIGHT, MIN_WIDTH = 64, 128
CITIES = {"train": "northtown", "val": "southtown"}

NEAR, FAR = 1.0, 110.0  # metres; the bottom of the image sees the ground at about 3 m
SUBPIXEL_BITS = 4
# Width and length in metres of what drives in a lane.
EXTENTS = {
    "car": (1.85, 4.2), "truck": (2.5, 7.8), "bus": (2.5, 10.5), "tram": (2.5, 20.0),
    "motorcycle": (1.2, 0.4), "bicycle": (1.2, 0.4),
}  # fmt: skip
# From the tail over the roof to the nose: share of the length, height, how far the sides lean in.
CAR_PROFILES = [
    [(0, 0.3, 0), (0, 0.95, 0.02), (0.15, 1.42, 0.22), (0.55, 1.46, 0.22), (0.74, 0.98, 0.04),
     (1, 0.82, 0.06), (1, 0.3, 0.02)],  # saloon
    [(0, 0.3, 0), (0.01, 1.0, 0.02), (0.1, 1.5, 0.2), (0.6, 1.53, 0.2), (0.78, 1.02, 0.04),
     (1, 0.86, 0.06), (1, 0.3, 0.02)],  # hatchback
    [(0, 0.3, 0), (0, 1.1, 0.0), (0.04, 1.9, 0.14), (0.7, 1.92, 0.14), (0.86, 1.15, 0.04),
     (1, 1.0, 0.05), (1, 0.3, 0.02)],  # van
]  # fmt: skip

# BGR colours: top of the sky, sky at the horizon, factor on every colour below the sky.
DAYLIGHTS = np.array(
    [
        [(205, 135, 70), (240, 220, 195), (255, 255, 258)],  # noon
        [(190, 180, 170), (218, 213, 208), (228, 224, 220)],  # overcast
        [(185, 140, 110), (150, 200, 250), (200, 236, 272)],  # low sun
        [(120, 80, 70), (140, 135, 200), (190, 168, 168)],  # dusk
    ],
    dtype=float,
)
FACADES = [
    (150, 190, 215), (120, 150, 190), (90, 110, 165), (175, 185, 190), (130, 165, 200),
    (190, 205, 215), (140, 145, 150), (110, 160, 205), (165, 170, 150), (80, 90, 130),
]  # fmt: skip
PAINTS = [
    (40, 40, 45), (200, 200, 205), (150, 150, 155), (120, 60, 30), (35, 35, 150), (225, 228, 230),
    (90, 85, 80), (160, 110, 60), (60, 95, 40), (50, 140, 200),
]  # fmt: skip
CLOTHES = [
    (60, 50, 40), (45, 45, 170), (150, 90, 50), (70, 120, 70), (200, 200, 205), (40, 150, 210),
    (120, 60, 110), (40, 40, 45), (130, 140, 150),
]  # fmt: skip
CARGOS = [(205, 205, 200), (170, 150, 90), (60, 90, 170), (120, 150, 110)]
BUS_PAINTS = [(40, 190, 225), (50, 50, 190), (190, 150, 60), (225, 225, 225)]
TRAM_PAINTS = [(60, 60, 185), (90, 150, 60), (190, 200, 205)]
LEAVES = [(55, 105, 70), (45, 95, 85), (50, 85, 55), (60, 115, 100)]
SKINS = [(150, 180, 225), (110, 145, 200), (70, 100, 150)]
GLASS, TYRE, METAL, DARK = (75, 62, 52), (32, 30, 30), (125, 122, 120), (45, 42, 40)
PAVEMENT, WHITE, TRUNK = (158, 162, 168), (225, 228, 230), (50, 70, 90)

# Relative strength of the surface noise by class: leaves are mottled, painted metal is smooth.
ROUGHNESS = np.full(256, 0.02, np.float32)
ROUGHNESS[[ROAD, SIDEWALK, BUILDING, WALL]] = 0.05, 0.06, 0.03, 0.08
ROUGHNESS[[TERRAIN, VEGETATION, SKY]] = 0.13, 0.22, 0.0

Pair = tuple[float, float]
Colour = Sequence[float]
Points = Sequence[Sequence[float]] | np.ndarray


def mix(first: Colour, second: Colour, share: float) -> np.ndarray:
    """Returns the colour ``share`` (0 to 1) of the way from the first colour to the second."""
    return (1 - share) * np.asarray(first, float) + share * np.asarray(second, float)


def ground_quad(x0: float, x1: float, z0: float, z1: float) -> np.ndarray:
    """Returns the (4, 3) corners of a rectangle on the ground."""
    return np.array([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], float)


def side_quad(x: float, y0: float, y1: float, z0: float, z1: float) -> np.ndarray:
    """Returns the (4, 3) corners of an upright rectangle along the street."""
    return np.array([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)], float)


@cache
def circle(num: int) -> np.ndarray:
    """Returns the (num, 2) corners of a regular polygon in the unit circle."""
    angles = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def oval(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Returns the (14, 2) outline of an ellipse about (x, y)."""
    return (x, y) + circle(14) * (rx, ry)


def box(x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
    """Returns the (4, 2) outline of a rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def bar(start: Sequence[float], end: Sequence[float], width: float) -> np.ndarray:
    """Returns the (4, 2) outline of a bar of a width between two (x, y) points."""
    (x0, y0), (x1, y1) = start, end
    half = width / 2 / max(np.hypot(x1 - x0, y1 - y0), 1e-6)
    dx, dy = (y0 - y1) * half, (x1 - x0) * half
    return np.array(
        [(x0 - dx, y0 - dy), (x1 - dx, y1 - dy), (x1 + dx, y1 + dy), (x0 + dx, y0 + dy)]
    )


def shrink(points: Points, factor: float) -> np.ndarray:
    """Returns (N, 2 or 3) points moved towards their mean, as a pane lies in its frame."""
    centre = np.mean(points, axis=0)
    return centre + factor * (np.asarray(points) - centre)


class Scene:
    """The image and label of one scene, its camera, its light and the plan of its street.

    Args:
        size: Height and width in pixels.
        rng: Source of everything random in the scene.
    """

    def __init__(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        height, width = size
        self.rng = rng
        self.image = np.zeros((height, width, 3), np.uint8)
        self.label = np.full((height, width), IGNORED, np.uint8)
        self.shadows = np.zeros((height, width), np.uint8)
        self.things: list[tuple[float, Callable[[], None]]] = []

        self.has_tram = rng.random() < 0.5
        self.lane = rng.uniform(3.0, 3.8)  # one lane per direction
        self.parking = 2.1 if rng.random() < 0.6 else 0.0
        self.kerb = self.lane + self.parking + 0.4
        self.front = self.kerb + rng.uniform(2.4, 4.0)  # where the lots begin

        self.focal = height * rng.uniform(1.0, 1.25)
        self.centre = width * rng.uniform(0.42, 0.58)
        self.horizon = height * rng.uniform(0.40, 0.48)
        self.camera_x = self.lane / 2 + rng.uniform(-0.4, 0.4)
        self.camera_y = rng.uniform(1.55, 1.95)

        first, second = rng.choice(len(DAYLIGHTS), 2, p=[0.4, 0.25, 0.2, 0.15])
        blend = mix(DAYLIGHTS[first], DAYLIGHTS[second], rng.uniform(0, 0.5))
        self.zenith, self.haze, self.light = blend[0], blend[1], blend[2] / 255
        self.sun = rng.choice([-1, 1])  # on the left or on the right
        self.haze_length = rng.uniform(90, 220)

    def pick(self, colours: Sequence[Colour], spread: float = 12) -> np.ndarray:
        """Returns one of the colours with a random change of about ``spread`` grey levels."""
        colour = np.asarray(colours[self.rng.integers(len(colours))], float)
        return colour + self.rng.normal(0, spread / 2) + self.rng.normal(0, spread / 2, 3)

    def facing(self, side: float) -> float:
        """Returns the brightness of a surface that looks to the left (-1) or right (1)."""
        return 1.05 if side == self.sun else 0.8

    def project(self, points: np.ndarray) -> np.ndarray:
        """Returns the (..., 2) pixel positions of (..., 3) world points."""
        scale = self.focal / np.maximum(points[..., 2], NEAR)
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + scale * (points[..., 0] - self.camera_x)
        pixels[..., 1] = self.horizon + scale * (self.camera_y - points[..., 1])
        return pixels

    def sees(self, x: float, z: float, reach: float) -> bool:
        """Returns whether something at most ``reach`` metres wide on each side can be in view."""
        left, right = self.project(np.array([(x - reach, 0, z), (x + reach, 0, z)]))[:, 0]
        return right > 0 and left < self.label.shape[1]

    def polygon(
        self, points: Points, colour: Colour | None = None, class_id: int | None = None
    ) -> None:
        """Draws a polygon, or several.

        Args:
            points: (N, 3) world points, or (M, N, 3) for M polygons.
            colour: BGR in 0 to 255 under white light, or None to leave the image as it is. One
                colour fills M polygons together, so that one inside another makes a hole; (M, 3)
                colours fill them one after the other.
            class_id: Train id, or None to leave the label as it is (a detail of an object).
        """
        points = np.asarray(points, float)
        contours = self.contours(points)
        one_by_one = np.ndim(colour) == 2
        batches = [[contour] for contour in contours] if one_by_one else [contours]
        if colour is not None:
            clearness = np.exp(-max(points[..., 2].mean() - 8, 0) / self.haze_length)
            shown = mix(self.haze, np.asarray(colour) * self.light, clearness)
            for batch, paint in zip(batches, np.atleast_2d(shown).tolist(), strict=True):
                cv2.fillPoly(self.image, batch, paint, cv2.LINE_AA, SUBPIXEL_BITS)
        if class_id is not None:
            for batch in batches:
                cv2.fillPoly(self.label, batch, class_id, cv2.LINE_8, SUBPIXEL_BITS)

    def flat(
        self,
        place: Pair,
        outline: Points,
        colour: Colour | None = None,
        class_id: int | None = None,
        turn: float = 1,
    ) -> None:
        """Draws a flat shape that stands upright on the street.

        Args:
            place: Where its origin is: x and z in metres.
            outline: (N, 2) points, or (M, N, 2) for M shapes: metres to the right and up.
            colour: As in :meth:`polygon`.
            class_id: As in :meth:`polygon`.
            turn: 1 shows it across the view, -1 mirrored, less in between foreshortened.
        """
        (x, z), outline = place, np.asarray(outline, float)
        points = np.full((*outline.shape[:-1], 3), z, float)
        points[..., 0] = x + turn * outline[..., 0]
        points[..., 1] = outline[..., 1]
        self.polygon(points, colour, class_id)

    def contours(self, points: np.ndarray) -> list[np.ndarray]:
        """Returns (N, 3) or (M, N, 3) world points as OpenCV's fixed-point pixel contours."""
        # OpenCV puts the centre of the first pixel at 0, the camera at 0.5.
        pixels = (self.project(points) - 0.5) * 2**SUBPIXEL_BITS
        return list(pixels.round().astype(np.int32).reshape(-1, points.shape[-2], 2))

    def add(self, place: Pair, extent: Pair, draw: Callable[..., None], *args: object) -> None:
        """Queues ``draw(scene, place, *args)`` of what may be in view and notes its shadow.

        Args:
            place: x of the middle and z of the near end in metres.
            extent: Width and length of the shadow on the ground in metres.
            draw: Draws the object.
            *args: What else it takes.
        """
        x, z = place
        if not self.sees(x, z + extent[1], 3):
            return
        left, right = x - extent[0] / 2, x + extent[0] / 2
        if self.sun > 0:
            left -= 0.5
        else:
            right += 0.5
        footprint = self.contours(ground_quad(left, right, z - 0.1, z + extent[1]))
        cv2.fillPoly(self.shadows, footprint, 255, cv2.LINE_8, SUBPIXEL_BITS)
        self.things.append((z, partial(draw, self, place, *args)))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Returns (H, W) float32 noise with about ``cells`` soft spots along the height."""
    height, width = shape
    small = rng.standard_normal((cells, max(2, cells * width // height)), dtype=np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def draw_sky(scene: Scene) -> None:
    """Fills everything down to the horizon with a gradient and clouds."""
    rows = int(np.ceil(scene.horizon + scene.focal * scene.camera_y / FAR)) + 1
    width = scene.label.shape[1]
    height = np.linspace(0, 1, rows)[:, None, None] ** 1.3
    gradient = np.broadcast_to(mix(scene.zenith, scene.haze, height), (rows, width, 3))
    noise = smooth_noise(scene.rng, (rows, width), 5)
    noise += 0.5 * smooth_noise(scene.rng, (rows, width), 13)
    cover = np.clip(noise * 0.5 + scene.rng.uniform(-0.5, 0.3), 0, 0.8)[..., None]
    scene.image[:rows] = mix(gradient, np.minimum(scene.haze + 25, 255), cover)
    scene.label[:rows] = SKY


def draw_backdrop(scene: Scene) -> None:
    """Draws what closes the street: hazy towers and a line of trees."""
    for x in scene.rng.uniform(-70, 70, 7):
        width, height = scene.rng.uniform(6, 14), scene.rng.uniform(10, 34)
        scene.flat((x, FAR), box(0, width, 0, height), scene.pick(FACADES) * 0.8, BUILDING)
    for x in np.arange(-108, 109, 8):
        draw_leaves(scene, (x, FAR), scene.rng.uniform(1, 4), 6, 4)


def draw_ground(scene: Scene) -> None:
    """Draws grass, sidewalks and the road with its markings out to the horizon."""
    rng, lane, kerb, front = scene.rng, scene.lane, scene.kerb, scene.front
    scene.polygon(ground_quad(-400, 400, 0, FAR), scene.pick([(70, 125, 105)]), TERRAIN)

    paving = scene.pick([PAVEMENT])
    verge = rng.random(2) < 0.35
    for side, has_verge in zip((-1, 1), verge, strict=True):
        scene.polygon(ground_quad(side * kerb, side * front, 0, FAR), paving, SIDEWALK)
        joints = [
            ground_quad(side * kerb, side * front, z, z + 0.05) for z in np.arange(3, 30, 1.5)
        ]
        scene.polygon(joints, paving * 0.86)
        if has_verge:
            edges = side * (kerb + 0.3), side * (kerb + 1.3)
            scene.polygon(ground_quad(*edges, 0, FAR), scene.pick([(65, 120, 100)]), TERRAIN)
        scene.polygon(ground_quad(side * kerb, side * (kerb + 0.2), 0, FAR), paving * 1.15)

    asphalt = scene.pick([(88, 86, 84), (105, 103, 102), (72, 70, 70)])
    scene.polygon(ground_quad(-kerb, kerb, 0, FAR), asphalt, ROAD)
    for x, z in zip(rng.uniform(-kerb, kerb - 1.5, 4), rng.uniform(4, 25, 4), strict=True):
        length = rng.uniform(1, 4)
        scene.polygon(ground_quad(x, x + 1.4, z, z + length), asphalt * rng.uniform(0.85, 1.1))
    for side in (-1, 1):
        scene.polygon(ground_quad(side * (kerb - 0.25), side * kerb, 0, FAR), asphalt * 0.85)
        if scene.parking:
            scene.polygon(ground_quad(side * lane, side * (lane + 0.12), 0, FAR), WHITE)
    phase = rng.uniform(0, 6)
    dashes = [ground_quad(-0.08, 0.08, z, z + 3) for z in np.arange(phase, 80, 6)]
    scene.polygon(dashes, WHITE)
    if scene.has_tram:
        middles = [side * lane / 2 + half for side in (-1, 1) for half in (-0.75, 0.75)]
        scene.polygon([ground_quad(x - 0.05, x + 0.05, 0, FAR) for x in middles], (70, 68, 68))
    if rng.random() < 0.4:
        draw_crossing(scene, rng.uniform(9, 16))


def draw_crossing(scene: Scene, z: float) -> None:
    """Draws a zebra crossing, and plans people on it."""
    rng, kerb = scene.rng, scene.kerb
    stripes = [ground_quad(x, x + 0.5, z, z + 3) for x in np.arange(-kerb + 0.4, kerb - 0.6)]
    scene.polygon(stripes, WHITE)
    for x in rng.uniform(-kerb, kerb, rng.integers(1, 4)):
        scene.add((x, z + rng.uniform(0.3, 2.7)), (0.4, 0.3), draw_person)


def draw_leaves(scene: Scene, place: Pair, y: float, rx: float, ry: float) -> None:
    """Draws overlapping tufts that fill an ellipse; those towards the sun are brighter."""
    rng = scene.rng
    num = int(np.clip(60 * rx / place[1], 4, 16))
    angle, reach = np.linspace(0, 5 * np.pi, num), rng.uniform(0.2, 0.7, (num, 1))
    offset = reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    tufts = offset[:, None] + 0.52 * circle(9) + rng.normal(0, 0.05, (num, 9, 2))
    light = 0.9 + offset @ (0.15 * scene.sun, 0.25)
    outlines = (0, y) + tufts * (rx, ry)
    scene.flat(place, outlines, light[:, None] * scene.pick(LEAVES), VEGETATION)


def draw_tree(scene: Scene, place: Pair, height: float) -> None:
    """Draws a trunk and a crown."""
    scene.flat(place, bar((0, 0), (0, height * 0.6), 0.28), TRUNK, VEGETATION)
    draw_leaves(scene, place, height * 0.72, height * 0.33, height * 0.36)


def draw_building(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws a house whose facade with windows stands along the street from ``z0`` to ``z1``."""
    rng, x = scene.rng, side * scene.front
    storey = rng.uniform(2.9, 3.5)
    floors = int(rng.integers(2, 6))
    height = floors * storey + 0.6
    wall = scene.pick(FACADES, 25)
    roof = scene.pick([(60, 70, 120), (70, 70, 75), (55, 60, 90)])
    scene.flat((x, z0), box(0, side * 12, 0, height), wall * 0.85, BUILDING)
    top = [(x, height, z) for z in (z0, z1)]
    ridge = [(x + side * 3, height + 2.2, z) for z in (z1, z0)]
    scene.polygon(top + ridge, roof, BUILDING)
    gable = [(x, height, z0), (x + side * 3, height + 2.2, z0), (x + side * 12, height, z0)]
    scene.polygon(gable, wall * 0.8, BUILDING)

    wall = wall * scene.facing(-side)
    scene.polygon(side_quad(x, 0, height, z0, z1), wall, BUILDING)
    scene.polygon(side_quad(x, height - 0.35, height, z0, z1), wall * 1.12)
    scene.polygon(side_quad(x, 0, 0.6, z0, z1), wall * 0.7)
    if z0 > 60:
        return
    columns = max(2, round((z1 - z0) / rng.uniform(2.2, 3.2)))
    pitch = (z1 - z0) / columns
    panes = np.array(
        [
            side_quad(x, y + 0.9, y + storey - 0.5, z + 0.25 * pitch, z + 0.75 * pitch)
            for y in 0.2 + storey * np.arange(1, floors)
            for z in z0 + pitch * np.arange(columns)
        ]
    )
    scene.polygon([shrink(pane, 1.16) for pane in panes], wall * rng.choice([0.8, 1.18]))
    tones = np.array([GLASS, (110, 95, 80), (150, 140, 125)])
    scene.polygon(panes, tones[rng.integers(3, size=len(panes))])
    if rng.random() < 0.5:  # a shop window below an awning
        scene.polygon(side_quad(x, 0.5, 2.5, z0 + 0.4, z1 - 0.4), GLASS)
        scene.polygon(side_quad(x, 2.5, 3.0, z0 + 0.2, z1 - 0.2), scene.pick(CLOTHES))
    else:  # a door in every third place, windows in the others
        holes = [
            side_quad(x, 1.0 if column % 3 else 0.1, 2.4, z + 0.3 * pitch, z + 0.7 * pitch)
            for column, z in enumerate(z0 + pitch * np.arange(columns))
        ]
        scene.polygon(holes, DARK)


def draw_greenery(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws the trees and bushes of a lot without a house, from far to near."""
    rng, count = scene.rng, 3 if z0 < 40 else 1
    for z in np.sort(rng.uniform(z0, z1, count))[::-1]:
        x, height = side * (scene.front + rng.uniform(4, 12)), rng.uniform(6, 10)
        if scene.sees(x, z, 4):
            draw_tree(scene, (x, z), height)
    for z in np.sort(rng.uniform(z0, z1, count))[::-1]:
        x = side * (scene.front + rng.uniform(1.5, 4))
        if scene.sees(x, z, 2):
            draw_leaves(scene, (x, z), 0.6, 1.4, 1.0)


def draw_wall(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws a garden behind a free-standing wall."""
    draw_greenery(scene, side, z0, z1)
    x, height = side * scene.front, scene.rng.uniform(1.8, 2.8)
    stone = scene.pick([(125, 135, 145), (105, 125, 160), (140, 140, 140)]) * scene.facing(-side)
    scene.flat((x, z0), box(0, side * 0.4, 0, height), stone * 0.9, WALL)
    scene.polygon(side_quad(x, 0, height, z0, z1), stone, WALL)
    courses = [side_quad(x, y, y + 0.05, z0, z1) for y in np.arange(0.4, height - 0.2, 0.4)]
    scene.polygon(courses, stone * 0.85)
    scene.polygon(side_quad(x, height - 0.18, height, z0, z1), stone * 1.2)


def draw_fence(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws a garden behind a fence; the gaps between the pales count as fence."""
    draw_greenery(scene, side, z0, z1)
    x, height = side * scene.front, scene.rng.uniform(1.3, 2.0)
    paint = scene.pick([(60, 60, 60), (70, 95, 125), (200, 205, 205), (70, 90, 60)])
    scene.polygon(side_quad(x, 0, height, z0, z1), None, FENCE)
    pales = [side_quad(x, 0, height, z, z + 0.1) for z in np.arange(z0, z1 - 0.1, 0.35)]
    scene.polygon(pales, paint)
    scene.polygon([side_quad(x, y, y + 0.12, z0, z1) for y in (0.25, height - 0.3)], paint * 0.9)


def draw_lots(scene: Scene) -> None:
    """Draws what stands along both sides of the street, from far to near."""
    kinds = [draw_building, draw_wall, draw_fence, draw_greenery]
    for side in (-1, 1):
        lots = []
        z = scene.rng.uniform(1, 4)
        urban = scene.rng.uniform(0.35, 0.75)
        odds = np.array([urban, *((1 - urban) * np.array([0.4, 0.4, 0.2]))])
        while z < FAR - 10:
            end = z + scene.rng.uniform(7, 15)
            lots.append((scene.rng.choice(4, p=odds), z, end))
            z = end
        for kind, z0, z1 in reversed(lots):
            if scene.sees(side * scene.front, z1, 1):
                kinds[kind](scene, side, z0, z1)


def draw_hull(
    scene: Scene,
    place: Pair,
    extent: Pair,
    profile: Sequence[tuple[float, float, float]],
    colours: Sequence[Colour],
    class_id: int,
    oncoming: bool = False,
) -> float:
    """Draws a profile seen from the side, swept across the width of a vehicle, and its wheels.

    Args:
        scene: Where to draw.
        place: x of the middle and z of the near end in metres.
        extent: Width and length in metres.
        profile: Points from the tail over the roof to the nose: share of the length, height in
            metres, how far the sides lean in there in metres.
        colours: BGR of each surface between two neighbours in the profile; the first is the paint.
        class_id: Train id.
        oncoming: Whether the nose points to the camera.

    Returns:
        x of the side that the camera sees, or 0.0 if it sees neither.
    """
    (x, z), (width, length), paint = place, extent, np.asarray(colours[0])
    share, y, lean = np.array(profile, float).T
    along = z + length * (1 - share if oncoming else share)
    left, right = (np.stack([x + s * (width / 2 - lean), y, along], axis=1) for s in (-1, 1))
    tyres = [box(s * (width / 2 - 0.26), s * (width / 2 - 0.02), 0, 0.6) for s in (-1, 1)]
    scene.flat((x, z + 0.2), tyres, TYRE, class_id)
    strips = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    for index in np.argsort(-strips[..., 2].mean(axis=1)):
        strip, colour = strips[index], colours[index]
        is_level = np.ptp(strip[:, 2]) > np.ptp(strip[:, 1])
        scene.polygon(strip, paint * (1.2 if is_level else 0.92), class_id)
        if colour is not paint:
            scene.polygon(shrink(strip, 0.86), colour)

    if abs(scene.camera_x - x) < width / 2:
        return 0.0
    outward = np.sign(scene.camera_x - x)
    side, seen = (right if outward > 0 else left), x + outward * width / 2
    scene.polygon(side, paint * scene.facing(outward), class_id)
    if len(profile) > 4:
        cabin = side[1:5]
        scene.polygon(shrink(cabin, 0.78), GLASS)
        post = np.stack([cabin[1:3].mean(axis=0), cabin[[0, 3]].mean(axis=0)])
        scene.polygon(np.concatenate([post, post[::-1] + np.array([0, 0, 0.12])]), paint)
    radius = 0.32 if class_id == CAR else 0.48
    for middle in z + length * np.array([0.2, 0.8]):
        for size, colour in ((radius, TYRE), (0.5 * radius, METAL)):
            wheel = oval(middle, radius, size, size)
            points = np.column_stack([np.full(len(wheel), seen), wheel[:, ::-1]])
            scene.polygon(points, colour, class_id)
    return seen


def draw_lamps(scene: Scene, place: Pair, half: float, y: float, oncoming: bool) -> None:
    """Draws lamps, number plate and bumper on the near end of a vehicle of half a width."""
    scene.flat(place, box(-half, half, y - 0.38, y - 0.2), DARK)
    scene.flat(place, box(-0.26, 0.26, y - 0.2, y - 0.08), WHITE)
    lamps = [box(s * (half - 0.06), s * (half - 0.4), y - 0.05, y + 0.14) for s in (-1, 1)]
    scene.flat(place, lamps, (225, 250, 255) if oncoming else (35, 30, 190))


def draw_car(scene: Scene, place: Pair, oncoming: bool) -> None:
    """Draws a saloon, a hatchback or a van."""
    profile = CAR_PROFILES[scene.rng.choice(3, p=[0.4, 0.4, 0.2])]
    paint = scene.pick(PAINTS)
    colours = [paint, GLASS, paint, GLASS, paint, paint]
    draw_hull(scene, place, EXTENTS["car"], profile, colours, CAR, oncoming)
    draw_lamps(scene, place, 0.92, 0.72, oncoming)


def draw_box(
    scene: Scene, place: Pair, extent: Pair, heights: Pair, paint: np.ndarray, class_id: int
) -> float:
    """Draws a box on wheels between two heights; returns what :func:`draw_hull` returns."""
    low, high = heights
    profile = [(0, low, 0), (0, high, 0), (1, high, 0), (1, low, 0)]
    return draw_hull(scene, place, extent, profile, [paint] * 3, class_id)


def draw_truck(scene: Scene, place: Pair, oncoming: bool) -> None:
    """Draws a cab and a tall cargo box."""
    x, z = place
    cab_paint, cargo_paint = scene.pick(PAINTS[3:]), scene.pick(CARGOS)

    def draw_cargo(near: float) -> None:
        seen = draw_box(scene, (x, near), (2.5, 5.6), (0.8, 3.6), cargo_paint, TRUCK)
        scene.flat((x, near), box(-0.03, 0.03, 0.9, 3.5), cargo_paint * 0.7)
        if seen:
            scene.polygon(side_quad(seen, 1.6, 2.1, near + 0.3, near + 5.3), cab_paint)

    def draw_cab(near: float) -> None:
        seen = draw_box(scene, (x, near), (2.4, 2.0), (0.5, 2.8), cab_paint, TRUCK)
        scene.flat((x, near), box(-1.05, 1.05, 1.6, 2.5), GLASS)
        if seen:
            scene.polygon(side_quad(seen, 1.6, 2.4, near + 0.3, near + 1.4), GLASS)

    near_part, far_part = (draw_cab, draw_cargo) if oncoming else (draw_cargo, draw_cab)
    far_part(z + (2.2 if oncoming else 5.8))
    near_part(z)
    draw_lamps(scene, place, 1.2, 0.95, oncoming)


def draw_coach(scene: Scene, place: Pair, oncoming: bool, kind: str) -> None:
    """Draws a ``"bus"`` or a ``"tram"``: a long box with a band of windows."""
    is_tram, (_, z), (_, length) = kind == "tram", place, EXTENTS[kind]
    low, high = (0.25, 3.5) if is_tram else (0.4, 3.1)
    paint = scene.pick(TRAM_PAINTS if is_tram else BUS_PAINTS)
    seen = draw_box(scene, place, EXTENTS[kind], (low, high), paint, TRAIN if is_tram else BUS)
    if seen:
        starts = np.arange(z + 0.4, z + length - 1.2, 1.5)
        scene.polygon([side_quad(seen, 1.3, high - 0.6, a, a + 1.25) for a in starts], GLASS)
    if seen and is_tram:  # its bogies are covered, its cars are joined by bellows
        scene.polygon(side_quad(seen, 0.05, 0.5, z, z + length), DARK, TRAIN)
        scene.polygon(side_quad(seen, high - 0.3, high, z, z + length), WHITE)
        starts = z + length * np.array([0.33, 0.66])
        scene.polygon([side_quad(seen, low, high, a, a + 0.5) for a in starts], DARK)
    scene.flat(place, box(-1.1, 1.1, 1.3, high - 0.6), GLASS)
    scene.flat(place, box(-0.7, 0.7, high - 0.45, high - 0.15), (60, 200, 240))
    draw_lamps(scene, place, 1.2, 0.85, oncoming)


def draw_person(scene: Scene, place: Pair) -> None:
    """Draws somebody who walks."""
    skin, coat, trousers = scene.pick(SKINS), scene.pick(CLOTHES), scene.pick(CLOTHES) * 0.7
    tall, stride = scene.rng.uniform(0.8, 1.08), scene.rng.uniform(0.05, 0.3)
    parts: list[tuple[np.ndarray, Colour]] = []
    for step in (-stride, stride):
        parts.append((bar((step * 0.3, 0.9), (step, 0.03), 0.17), trousers))
        parts.append((bar((step - 0.08, 0.04), (step + 0.12, 0.04), 0.09), DARK))
    for hand in (-0.26 - stride / 3, 0.26 + stride / 3):
        parts.append((bar((hand * 0.7, 1.42), (hand, 0.85), 0.12), coat * 0.85))
    parts += [
        (bar((0, 0.8), (0, 1.5), 0.42), coat),
        (bar((0, 1.45), (0, 1.6), 0.14), skin),
        (oval(0, 1.64, 0.12, 0.15), skin),
        (oval(0, 1.73, 0.12, 0.08), DARK),
    ]
    for outline, colour in parts:
        scene.flat(place, outline * tall, colour, PERSON)


def draw_rider(scene: Scene, place: Pair, turn: float, seat: Pair, grip: Pair) -> None:
    """Draws somebody who sits at (x, y) ``seat`` and holds the handlebar at ``grip``."""
    skin, coat, trousers = scene.pick(SKINS), scene.pick(CLOTHES), scene.pick(CLOTHES) * 0.7
    joints = np.array([(0.38, -0.22), (0.2, -0.62), (0, -0.08), (0.25, 0.6), (0.33, 0.82)])
    knee, foot, tail, shoulder, head = joints + seat
    for outline, colour in [
        (bar(seat, knee, 0.19), trousers),
        (bar(knee, foot, 0.15), trousers),
        (bar(tail, shoulder, 0.4), coat),
        (bar(shoulder, grip, 0.13), coat * 0.85),
        (oval(*head, 0.13, 0.16), skin),
        (oval(head[0], head[1] + 0.07, 0.15, 0.12), scene.pick(CLOTHES, 40)),
    ]:
        scene.flat(place, outline, colour, RIDER, turn)


def draw_bicycle(scene: Scene, place: Pair, turn: float, ridden: bool) -> None:
    """Draws a bicycle; its wheels count without the gaps between the spokes."""
    paint = scene.pick(PAINTS, 40)
    for hub in (-0.52, 0.52):
        rim = oval(hub, 0.35, 0.35, 0.35)
        scene.flat(place, rim, None, BICYCLE, turn)
        scene.flat(place, [rim, shrink(rim, 0.78)], TYRE, None, turn)
    rear, fork, crank, seat, head = (
        (-0.52, 0.35),
        (0.52, 0.35),
        (-0.05, 0.32),
        (-0.22, 0.85),
        (0.38, 0.85),
    )
    for start, end in [
        (rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (fork, head),
        (head, (0.32, 1.02)), (seat, (-0.24, 0.95)),
    ]:  # fmt: skip
        scene.flat(place, bar(start, end, 0.07), paint, BICYCLE, turn)
    scene.flat(place, oval(-0.24, 0.97, 0.14, 0.05), DARK, BICYCLE, turn)
    if ridden:
        draw_rider(scene, place, turn, (-0.22, 1.0), (0.34, 1.02))


def draw_motorcycle(scene: Scene, place: Pair, turn: float, ridden: bool) -> None:
    """Draws a motorcycle."""
    paint = scene.pick(PAINTS, 40)
    tank = [(-0.8, 0.75), (-0.2, 0.6), (0.4, 0.6), (0.55, 0.9), (0.2, 0.95), (-0.2, 0.78)]
    for outline, colour in [
        (oval(-0.7, 0.34, 0.34, 0.34), TYRE),
        (oval(-0.7, 0.34, 0.17, 0.17), METAL),
        (oval(0.7, 0.34, 0.34, 0.34), TYRE),
        (oval(0.7, 0.34, 0.17, 0.17), METAL),
        (box(-0.45, 0.45, 0.28, 0.65), DARK),
        (tank, paint),
        (bar((-0.75, 0.83), (-0.1, 0.79), 0.1), DARK),
        (bar((0.68, 0.34), (0.46, 1.1), 0.11), METAL),
        (bar((-0.7, 0.3), (0.1, 0.3), 0.09), METAL),
        (oval(0.6, 0.88, 0.11, 0.11), (200, 240, 250)),
    ]:
        scene.flat(place, outline, colour, MOTORCYCLE, turn)
    if ridden:
        draw_rider(scene, place, turn, (-0.25, 0.9), (0.42, 1.08))


def draw_lamp_post(scene: Scene, place: Pair) -> None:
    """Draws a street lamp whose arm reaches over the road."""
    turn = -np.sign(place[0])
    for outline, colour in [
        (bar((0, 0), (0, 6.5), 0.2), METAL),
        (bar((0, 0), (0, 0.9), 0.3), METAL),
        (bar((0, 6.5), (1.6, 6.9), 0.14), METAL),
        (oval(1.6, 6.85, 0.4, 0.13), PAVEMENT),
    ]:
        scene.flat(place, outline, colour, POLE, turn)


def draw_traffic_light(scene: Scene, place: Pair) -> None:
    """Draws a traffic light with three lamps on a pole, one of them lit."""
    scene.flat(place, bar((0, 0), (0, 2.6), 0.17), METAL, POLE)
    scene.flat(place, box(-0.28, 0.28, 2.3, 3.6), (35, 38, 36), TRAFFIC_LIGHT)
    brightness = np.full((3, 1), 0.25)
    brightness[scene.rng.integers(3)] = 1
    lamps = [oval(0, y, 0.18, 0.18) for y in (3.36, 2.95, 2.54)]
    scene.flat(place, lamps, brightness * [(60, 60, 255), (50, 190, 255), (120, 230, 60)])


def draw_traffic_sign(scene: Scene, place: Pair) -> None:
    """Draws a round, triangular or rectangular sign on a pole."""
    scene.flat(place, bar((0, 0), (0, 2.9), 0.13), METAL, POLE)
    red, blue, yellow = (45, 40, 200), (190, 95, 30), (40, 195, 245)
    triangle = np.array([(-0.52, 2.2), (0.52, 2.2), (0, 3.1)])
    designs = [
        (oval(0, 2.6, 0.45, 0.45), red, WHITE, 0.7),
        (oval(0, 2.6, 0.45, 0.45), blue, WHITE, 0.35),
        (triangle, red, WHITE, 0.62),
        (box(-0.4, 0.4, 2.2, 3.0), blue, WHITE, 0.5),
        (box(-0.7, 0.7, 2.3, 2.9), yellow, DARK, 0.4),
    ]
    outline, rim, inside, share = designs[scene.rng.integers(len(designs))]
    scene.flat(place, outline, rim, TRAFFIC_SIGN)
    scene.flat(place, shrink(outline, share), inside)


def plan_traffic(scene: Scene) -> None:
    """Places vehicles and cyclists in both lanes, and parked cars."""
    rng = scene.rng
    odds = np.array([0.34, 0.14, 0.14, 0.35 * scene.has_tram, 0.17, 0.21])
    for side in (-1, 1):
        oncoming = side < 0
        z = rng.uniform(6, 17)
        while z < 60:
            kind = str(rng.choice(list(EXTENTS), p=odds / odds.sum()))
            place = (side * scene.lane / 2 + rng.uniform(-0.25, 0.25), z)
            if kind in ("motorcycle", "bicycle"):
                draw = draw_motorcycle if kind == "motorcycle" else draw_bicycle
                scene.add(place, EXTENTS[kind], draw, side * rng.uniform(0.45, 1), True)
            elif kind in ("bus", "tram"):
                scene.add(place, EXTENTS[kind], draw_coach, oncoming, kind)
            else:
                draw = draw_car if kind == "car" else draw_truck
                scene.add(place, EXTENTS[kind], draw, oncoming)
            z += EXTENTS[kind][1] + rng.uniform(4, 18)
        if scene.parking:
            for z in np.arange(rng.uniform(4, 9), 50, EXTENTS["car"][1] + 1.2):
                if rng.random() < 0.6:
                    scene.add((side * (scene.kerb - 1.2), z), EXTENTS["car"], draw_car, oncoming)


def plan_sidewalks(scene: Scene) -> None:
    """Places people, parked bikes, trees and the poles on both sidewalks."""
    rng = scene.rng
    for side in (-1, 1):
        kerbside, inner, outer = side * (scene.kerb + 0.5), scene.kerb + 0.8, scene.front - 0.4
        for z in np.arange(rng.uniform(6, 20), 80, rng.uniform(14, 22)):
            scene.add((kerbside, z), (0.2, 0.2), draw_lamp_post)
        if rng.random() < 0.5:
            for z in np.arange(rng.uniform(8, 20), 80, rng.uniform(9, 14)):
                scene.add((side * inner, z), (2.4, 2.4), draw_tree, rng.uniform(5, 8))
        for draw, most in ((draw_traffic_light, 3), (draw_traffic_sign, 4)):
            for z in rng.uniform(6, 28, rng.integers(0, most)):
                scene.add((kerbside + rng.uniform(-0.1, 0.1), z), (0.2, 0.2), draw)
        for z in np.exp(rng.uniform(np.log(5), np.log(40), rng.integers(1, 7))):
            scene.add((side * rng.uniform(inner, outer), z), (0.4, 0.3), draw_person)
        for z in rng.uniform(6, 20, rng.integers(0, 3)):
            draw = draw_bicycle if rng.random() < 0.6 else draw_motorcycle
            turn = rng.choice([-1, 1]) * rng.uniform(0.6, 1)
            scene.add((side * rng.uniform(inner, outer), z), (1.2, 0.4), draw, turn, False)


def draw_bonnet(scene: Scene) -> None:
    """Draws the bonnet of the camera's own car, which is ignored."""
    height, width = scene.label.shape
    rise = height * scene.rng.uniform(0.04, 0.08)
    across = np.linspace(-0.1, 1.1, 24)
    paint = scene.pick(PAINTS)
    for level, share in enumerate((1.0, 0.9, 0.7, 0.45)):
        arc = height - share * rise * (1 - (2 * across - 1) ** 4)
        outline = np.column_stack([across * width, arc])
        outline = np.vstack([outline, [(1.1 * width, 2 * height), (-0.1 * width, 2 * height)]])
        contour = (outline * 2**SUBPIXEL_BITS).astype(np.int32)
        shown = np.clip(paint * scene.light * (0.55 + 0.15 * level), 0, 255).tolist()
        cv2.fillPoly(scene.image, [contour], shown, cv2.LINE_AA, SUBPIXEL_BITS)
        if level == 0:
            cv2.fillPoly(scene.label, [contour], IGNORED, cv2.LINE_8, SUBPIXEL_BITS)


def cast_shadows(scene: Scene) -> None:
    """Darkens the ground under everything planned so far."""
    softness = scene.label.shape[0] / 200
    share = cv2.GaussianBlur(scene.shadows, (0, 0), softness).astype(np.float32)[..., None] / 255
    scene.image[:] = scene.image * (1 - 0.55 * share)


def expose(scene: Scene) -> np.ndarray:
    """Returns the image as a sensor sees it: rough surfaces, uneven light, blur and noise."""
    rng, shape = scene.rng, scene.label.shape
    height, width = shape
    grain = 0.6 * rng.standard_normal(shape, dtype=np.float32) + 0.8 * smooth_noise(rng, shape, 64)
    light = 1 + cv2.LUT(scene.label, ROUGHNESS) * grain
    light *= 1 + 0.1 * scene.sun * np.linspace(-1, 1, width, dtype=np.float32)
    light *= rng.uniform(0.85, 1.15)
    seen = scene.image * light[..., None]
    seen = cv2.GaussianBlur(seen, (0, 0), height / 256 * rng.uniform(0.4, 0.8))
    noise = rng.standard_normal((height, width, 3), dtype=np.float32)
    noise *= rng.uniform(1.5, 5)
    noise += seen
    return np.clip(noise, 0, 255, out=noise).astype(np.uint8)


def draw_street_scene(size: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one street scene.

    Args:
        size: Height and width in pixels, at least 64 x 128.
        seed: Decides the scene; the same seed gives the same picture.

    Returns:
        The image, (H, W, 3) uint8 in BGR, and the label, (H, W) uint8 with the Cityscapes train
        ids 0 to 18, or 255 where ignored.

    Raises:
        ValueError: If the size is too small or the seed negative.
    """
    check_at_least("the height in size", size[0], MIN_HEIGHT)
    check_at_least("the width in size", size[1], MIN_WIDTH)
    check_at_least("seed", seed, 0)
    scene = Scene(size, np.random.Generator(np.random.PCG64(seed)))
    draw_sky(scene)
    draw_ground(scene)
    plan_traffic(scene)
    plan_sidewalks(scene)
    cast_shadows(scene)
    draw_backdrop(scene)
    draw_lots(scene)
    for _, draw in sorted(scene.things, key=lambda thing: -thing[0]):
        draw()
    draw_bonnet(scene)
    return expose(scene), scene.label


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises a ValueError that names the argument if its value is below the least allowed one."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def write_street_scenes(
    root: str | os.PathLike[str],
    num_train: int = 400,
    num_val: int = 100,
    size: tuple[int, int] = (256, 512),
    seed: int = 0,
) -> None:
    """Writes scenes as a folder in the Cityscapes layout, whole or not at all.

    The images are ``leftImg8bit/{train,val}/<city>/<city>_000000_NNNNNN_leftImg8bit.png``, the
    labels ``gtFine/{train,val}/<city>/<city>_000000_NNNNNN_gtFine_labelTrainIds.png``.

    Args:
        root: The folder to make; it must not exist yet.
        num_train: Number of training scenes, at least 1.
        num_val: Number of validation scenes, at least 1; none of them is a training scene.
        size: Height and width in pixels, at least 64 x 128.
        seed: Decides all scenes; at least 0.

    Raises:
        ValueError: If a number is too small.
        FileExistsError: If ``root`` exists; it is left as it is.
        OSError: If a file cannot be written.
    """
    root = Path(root)
    check_at_least("num_train", num_train, 1)
    check_at_least("num_val", num_val, 1)
    check_at_least("the height in size", size[0], MIN_HEIGHT)
    check_at_least("the width in size", size[1], MIN_WIDTH)
    check_at_least("seed", seed, 0)
    if os.path.lexists(root):
        raise FileExistsError(f"{root} exists already; remove it or choose another folder")

    root.parent.mkdir(parents=True, exist_ok=True)
    scenes = [("train", index) for index in range(num_train)]
    scenes += [("val", index) for index in range(num_val)]
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as holder:
        building_site = Path(holder) / root.name
        for split, index in track(scenes, description="Drawing street scenes"):
            # Even seeds train, odd ones validate: the splits share no scene.
            scene_seed = 2 * (seed * 1_000_000 + index) + (split == "val")
            image, label = draw_street_scene(size, scene_seed)
            city = CITIES[split]
            name = f"{city}_000000_{index:06d}"
            write_png(
                building_site / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image
            )
            write_png(
                building_site / "gtFine" / split / city / f"{name}_gtFine_labelTrainIds.png", label
            )
        building_site.rename(root)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes an image file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"cannot write {path}")
