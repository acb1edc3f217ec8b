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
MAX_SCENES = 1_000_000  # file names have six digits
CITIES = {"train": "northtown", "val": "southtown"}

NEAR, FAR = 1.0, 110.0  # metres; the bottom of the image sees the ground at about 3 m
SUBPIXEL_BITS = 4
CAR_LENGTH, TRUCK_LENGTH, BUS_LENGTH, TRAM_LENGTH = 4.2, 7.8, 10.5, 22.0  # metres

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
SKINS = [(150, 180, 225), (110, 145, 200), (70, 100, 150)]
GLASS, TYRE, METAL, DARK = (75, 62, 52), (32, 30, 30), (125, 122, 120), (45, 42, 40)
PAVEMENT, WHITE, TRUNK = (158, 162, 168), (225, 228, 230), (50, 70, 90)

# Relative strength of the surface noise by class: leaves are mottled, painted metal is smooth.
ROUGHNESS = np.full(256, 0.02, np.float32)
ROUGHNESS[[ROAD, SIDEWALK, BUILDING, WALL]] = 0.05, 0.06, 0.03, 0.08
ROUGHNESS[[TERRAIN, VEGETATION, SKY]] = 0.13, 0.22, 0.0

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


def front_quad(x0: float, x1: float, y0: float, y1: float, z: float) -> np.ndarray:
    """Returns the (4, 3) corners of an upright rectangle that faces the camera."""
    return np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], float)


@cache
def circle(num: int) -> np.ndarray:
    """Returns the (num, 2) corners of a regular polygon in the unit circle."""
    angles = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def front_ellipse(x: float, y: float, z: float, rx: float, ry: float, num: int = 14) -> np.ndarray:
    """Returns (num, 3) points of an ellipse with radii ``rx``, ``ry`` that faces the camera."""
    points = np.full((num, 3), z, float)
    points[:, :2] = (x, y) + circle(num) * (rx, ry)
    return points


def front_bar(start: Sequence[float], end: Sequence[float], z: float, width: float) -> np.ndarray:
    """Returns the (4, 3) corners of a bar of a width between two (x, y) points at depth ``z``."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = (end - start) / max(np.hypot(*(end - start)), 1e-6)
    across = np.array([-along[1], along[0]]) * width / 2
    corners = np.stack([start - across, end - across, end + across, start + across])
    return np.column_stack([corners, np.full(4, z)])


def shrink(points: Points, factor: float) -> np.ndarray:
    """Returns (N, 3) points moved towards their mean, as a pane lies in its frame."""
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

        self.has_tram = rng.random() < 0.35
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
        if colour is not None:
            clearness = np.exp(-max(points[..., 2].mean() - 8, 0) / self.haze_length)
            shown = mix(self.haze, np.asarray(colour) * self.light, clearness)
            batches = [(contours, shown)] if shown.ndim == 1 else zip(zip(contours), shown)
            for batch, paint in batches:
                cv2.fillPoly(self.image, batch, paint.tolist(), cv2.LINE_AA, SUBPIXEL_BITS)
        if class_id is not None:
            cv2.fillPoly(self.label, contours, class_id, cv2.LINE_8, SUBPIXEL_BITS)

    def contours(self, points: np.ndarray) -> list[np.ndarray]:
        """Returns (N, 3) or (M, N, 3) world points as OpenCV's fixed-point pixel contours."""
        # OpenCV puts the centre of the first pixel at 0, the camera at 0.5.
        pixels = (self.project(points) - 0.5) * 2**SUBPIXEL_BITS
        return list(pixels.round().astype(np.int32).reshape(-1, points.shape[-2], 2))

    def shadow(self, x0: float, x1: float, z0: float, z1: float) -> None:
        """Notes the shadow of an object with this footprint; it falls away from the sun."""
        drift = -0.5 * self.sun
        footprint = ground_quad(x0 + min(drift, 0), x1 + max(drift, 0), z0 - 0.1, z1)
        cv2.fillPoly(self.shadows, self.contours(footprint), 255, cv2.LINE_8, SUBPIXEL_BITS)

    def add(self, depth: float, draw: Callable[..., None], *args: object) -> None:
        """Queues ``draw(scene, *args)`` of an object on the street at a depth in metres."""
        self.things.append((depth, partial(draw, self, *args)))


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
    noise = smooth_noise(scene.rng, (rows, width), 5) + 0.5 * smooth_noise(
        scene.rng, (rows, width), 13
    )
    cover = np.clip(noise * 0.5 + scene.rng.uniform(-0.5, 0.3), 0, 0.8)[..., None]
    scene.image[:rows] = mix(gradient, np.minimum(scene.haze + 25, 255), cover)
    scene.label[:rows] = SKY


def draw_backdrop(scene: Scene) -> None:
    """Draws what closes the street: hazy towers and a line of trees."""
    for x in scene.rng.uniform(-70, 70, 7):
        width, height = scene.rng.uniform(6, 14), scene.rng.uniform(10, 34)
        scene.polygon(
            front_quad(x, x + width, 0, height, FAR), scene.pick(FACADES) * 0.8, BUILDING
        )
    for x in np.arange(-110, 110, 6):
        draw_leaves(scene, x, scene.rng.uniform(1, 4), FAR, 5, 4)


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
        offsets = np.array([-0.75, 0.75])
        rails = [
            ground_quad(x - 0.06, x + 0.06, 0, FAR)
            for x in [*(offsets - lane / 2), *(offsets + lane / 2)]
        ]
        scene.polygon(rails, (75, 72, 72))
        scene.polygon([shrink(rail, 1) + (0.03, 0, 0) for rail in rails], (150, 150, 150))


def draw_leaves(scene: Scene, x: float, y: float, z: float, rx: float, ry: float) -> None:
    """Draws overlapping tufts that fill an ellipse; those towards the sun are brighter."""
    rng = scene.rng
    green = scene.pick([(55, 105, 70), (45, 95, 85), (50, 85, 55), (60, 115, 100)])
    num = int(np.clip(80 * rx / z, 4, 18))
    angle, reach = np.linspace(0, 5 * np.pi, num), rng.uniform(0.2, 0.7, (num, 1))
    offset = reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    tufts = np.full((num, 9, 3), z, float)
    outline = 0.52 * circle(9) + rng.normal(0, 0.05, (num, 9, 2))
    tufts[..., :2] = (x, y) + (outline + offset[:, None]) * (rx, ry)
    light = 0.9 + offset @ (0.15 * scene.sun, 0.25)
    scene.polygon(tufts, light[:, None] * green, VEGETATION)


def draw_tree(scene: Scene, x: float, z: float, height: float) -> None:
    """Draws a trunk and a crown."""
    trunk = [(x - 0.16, 0, z), (x + 0.16, 0, z), (x + 0.1, height * 0.6, z), (x, height * 0.6, z)]
    scene.polygon(trunk, TRUNK, VEGETATION)
    draw_leaves(scene, x, height * 0.72, z, height * 0.33, height * 0.36)


def draw_building(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws a house whose facade with windows stands along the street from ``z0`` to ``z1``."""
    rng, x = scene.rng, side * scene.front
    storey = rng.uniform(2.9, 3.5)
    floors = int(rng.integers(2, 6))
    height = floors * storey + 0.6
    wall = scene.pick(FACADES, 25)
    roof = scene.pick([(60, 70, 120), (70, 70, 75), (55, 60, 90)])
    scene.polygon(front_quad(x, x + side * 12, 0, height, z0), wall * 0.85, BUILDING)
    top = [(x - side * 0.3, height, z) for z in (z0, z1)]
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
    if rng.random() < 0.5:
        scene.polygon(side_quad(x, 0.5, 2.5, z0 + 0.4, z1 - 0.4), GLASS)
        scene.polygon(side_quad(x, 2.5, 3.0, z0 + 0.2, z1 - 0.2), scene.pick(CLOTHES))
        doors = [
            side_quad(x, 0.5, 2.5, z, z + 0.15) for z in np.arange(z0 + 0.4, z1 - 0.4, pitch)
        ]
        scene.polygon(doors, wall)
    else:
        holes = [
            side_quad(x, 0.1 if column == 1 else 1.0, 2.4, z + 0.3 * pitch, z + 0.7 * pitch)
            for column, z in enumerate(z0 + pitch * np.arange(columns))
        ]
        scene.polygon(holes, DARK)


def draw_greenery(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws the trees and bushes of a lot without a house, from far to near."""
    rng, count = scene.rng, 3 if z0 < 40 else 1
    for z in np.sort(rng.uniform(z0, z1, count))[::-1]:
        x, height = side * (scene.front + rng.uniform(4, 12)), rng.uniform(6, 10)
        if scene.sees(x, z, 4):
            draw_tree(scene, x, z, height)
    for z in np.sort(rng.uniform(z0, z1, count))[::-1]:
        x = side * (scene.front + rng.uniform(1.5, 4))
        if scene.sees(x, z, 2):
            draw_leaves(scene, x, 0.6, z, 1.4, 1.0)


def draw_wall(scene: Scene, side: int, z0: float, z1: float) -> None:
    """Draws a garden behind a free-standing wall."""
    draw_greenery(scene, side, z0, z1)
    x, height = side * scene.front, scene.rng.uniform(1.8, 2.8)
    stone = scene.pick([(125, 135, 145), (105, 125, 160), (140, 140, 140)]) * scene.facing(-side)
    scene.polygon(front_quad(x, x + side * 0.4, 0, height, z0), stone * 0.9, WALL)
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
            kinds[kind](scene, side, z0, z1)


def draw_hull(
    scene: Scene,
    x: float,
    z: float,
    shape: tuple[float, float],
    profile: Sequence[tuple[float, float, float]],
    colours: Sequence[Colour],
    class_id: int,
    oncoming: bool,
) -> float:
    """Draws a profile seen from the side, swept across the width of a vehicle, and its wheels.

    Args:
        scene: Where to draw.
        x: Middle of the vehicle in metres.
        z: Its end near the camera in metres.
        shape: Its width and length in metres.
        profile: Points from the tail over the roof to the nose: share of the length, height in
            metres, how far the sides lean in there in metres.
        colours: BGR of each surface between two neighbours in the profile.
        class_id: Train id.
        oncoming: Whether the nose points to the camera.

    Returns:
        The side that the camera sees: -1 left, 1 right, 0 neither.
    """
    width, length = shape

    def edge(side: float) -> np.ndarray:
        along = [1 - share if oncoming else share for share, _, _ in profile]
        return np.array(
            [
                (x + side * (width / 2 - lean), y, z + share * length)
                for share, (_, y, lean) in zip(along, profile, strict=True)
            ]
        )

    radius = min(0.36, 0.16 * width) if class_id == CAR else 0.48
    tyres = [
        front_quad(x + s * (width / 2 - 0.26), x + s * (width / 2 - 0.02), 0, 0.6, z + 0.2)
        for s in (-1, 1)
    ]
    scene.polygon(tyres, TYRE, class_id)
    left, right = edge(-1), edge(1)
    strips = [
        (np.stack([left[i], left[i + 1], right[i + 1], right[i]]), colour)
        for i, colour in enumerate(colours)
    ]
    for strip, colour in sorted(strips, key=lambda item: -item[0][:, 2].mean()):
        flatness = np.ptp(strip[:, 2]) > np.ptp(strip[:, 1])
        scene.polygon(strip, np.asarray(colours[0]) * (1.2 if flatness else 0.92), class_id)
        if colour is not colours[0]:
            scene.polygon(shrink(strip, 0.86), colour)

    seen = np.sign(scene.camera_x - x) * (abs(scene.camera_x - x) > width / 2)
    if seen:
        scene.polygon(right if seen > 0 else left, colours[0] * scene.facing(seen), class_id)
        for share in (0.2, 0.8):
            for size, colour in ((1, TYRE), (0.5, METAL)):
                wheel = front_ellipse(0, radius, 0, size * radius, size * radius)
                points = np.column_stack(
                    [np.full(len(wheel), x + seen * width / 2), wheel[:, 1], wheel[:, 0]]
                ) + (0, 0, z + share * length)
                scene.polygon(points, colour, class_id)
        if len(profile) > 4:
            cabin = (right if seen > 0 else left)[1:5]
            scene.polygon(shrink(cabin, 0.78), GLASS)
            post = cabin[1:3].mean(axis=0), cabin[[0, 3]].mean(axis=0)
            scene.polygon([post[0], post[1], post[1] + (0, 0, 0.12), post[0] + (0, 0, 0.12)], colours[0])
    return seen


def draw_lamps(scene: Scene, x: float, z: float, width: float, y: float, oncoming: bool) -> None:
    """Draws head or tail lamps, the number plate and the bumper on the near end of a vehicle."""
    half, near = width / 2, z - 0.02
    scene.polygon(front_quad(x - half, x + half, y - 0.38, y - 0.2, near), DARK)
    scene.polygon(front_quad(x - 0.26, x + 0.26, y - 0.2, y - 0.08, near), WHITE)
    lamps = [
        front_quad(x + s * (half - 0.06), x + s * (half - 0.4), y - 0.05, y + 0.14, near)
        for s in (-1, 1)
    ]
    scene.polygon(lamps, (225, 250, 255) if oncoming else (35, 30, 190))


CAR_PROFILES = [
    [(0, 0.3, 0), (0, 0.95, 0.02), (0.15, 1.42, 0.22), (0.55, 1.46, 0.22), (0.74, 0.98, 0.04),
     (1, 0.82, 0.06), (1, 0.3, 0.02)],  # saloon
    [(0, 0.3, 0), (0.01, 1.0, 0.02), (0.1, 1.5, 0.2), (0.6, 1.53, 0.2), (0.78, 1.02, 0.04),
     (1, 0.86, 0.06), (1, 0.3, 0.02)],  # hatchback
    [(0, 0.3, 0), (0, 1.1, 0.0), (0.04, 1.9, 0.14), (0.7, 1.92, 0.14), (0.86, 1.15, 0.04),
     (1, 1.0, 0.05), (1, 0.3, 0.02)],  # van
]  # fmt: skip


def draw_car(scene: Scene, x: float, z: float, oncoming: bool) -> None:
    """Draws a saloon, a hatchback or a van."""
    profile = CAR_PROFILES[scene.rng.choice(3, p=[0.4, 0.4, 0.2])]
    paint = scene.pick(PAINTS)
    colours = [paint, GLASS, paint, GLASS, paint, paint]
    draw_hull(scene, x, z, (1.85, CAR_LENGTH), profile, colours, CAR, oncoming)
    draw_lamps(scene, x, z, 1.85, 0.72, oncoming)


def draw_box(
    scene: Scene,
    x: float,
    z: float,
    shape: tuple[float, float],
    heights: tuple[float, float],
    paint: np.ndarray,
    class_id: int,
) -> float:
    """Draws a box on wheels of (width, length) between two heights; returns the seen side."""
    low, high = heights
    profile = [(0, low, 0), (0, high, 0), (1, high, 0), (1, low, 0)]
    return draw_hull(scene, x, z, shape, profile, [paint] * 3, class_id, False)


def draw_truck(scene: Scene, x: float, z: float, oncoming: bool) -> None:
    """Draws a cab and a tall cargo box."""
    cab_paint = scene.pick(PAINTS[3:])
    cargo_paint = scene.pick([(205, 205, 200), (170, 150, 90), (60, 90, 170), (120, 150, 110)])
    parts = [("cargo", 0 if not oncoming else 2.2), ("cab", 5.8 if not oncoming else 0)]
    for part, offset in sorted(parts, key=lambda item: -item[1]):
        near = z + offset
        if part == "cargo":
            seen = draw_box(scene, x, near, (2.5, 5.6), (0.8, 3.6), cargo_paint, TRUCK)
            scene.polygon(front_quad(x - 0.03, x + 0.03, 0.9, 3.5, near), cargo_paint * 0.7)
            if seen:
                stripe = side_quad(x + seen * 1.25, 1.6, 2.1, near + 0.3, near + 5.3)
                scene.polygon(stripe, cab_paint)
        else:
            seen = draw_box(scene, x, near, (2.4, 2.0), (0.5, 2.8), cab_paint, TRUCK)
            scene.polygon(front_quad(x - 1.05, x + 1.05, 1.6, 2.5, near), GLASS)
            if seen:
                scene.polygon(side_quad(x + seen * 1.2, 1.6, 2.4, near + 0.3, near + 1.4), GLASS)
    draw_lamps(scene, x, z, 2.4, 0.95, oncoming)


def draw_coach(scene: Scene, x: float, z: float, oncoming: bool, class_id: int) -> None:
    """Draws a bus or a tram: a long box with a band of windows."""
    is_tram = class_id == TRAIN
    length, height = (TRAM_LENGTH, 3.5) if is_tram else (BUS_LENGTH, 3.1)
    bus_paints = [(40, 190, 225), (50, 50, 190), (190, 150, 60), (225, 225, 225)]
    paint = scene.pick([(60, 60, 185), (90, 150, 60), (190, 200, 205)] if is_tram else bus_paints)
    low = 0.25 if is_tram else 0.4
    seen = draw_box(scene, x, z, (2.5, length), (low, height), paint, class_id)
    if seen:
        side = x + seen * 1.25
        panes = [
            side_quad(side, 1.3, height - 0.6, a, a + 1.25) for a in np.arange(z + 0.4, z + length - 1.2, 1.5)
        ]
        scene.polygon(panes, GLASS)
        if is_tram:
            scene.polygon(side_quad(side, height - 0.3, height, z, z + length), WHITE)
            joints = [side_quad(side, low, height, z + a, z + a + 0.5) for a in (length / 3, length * 0.66)]
            scene.polygon(joints, DARK)
            scene.polygon(side_quad(side, 0.05, 0.4, z, z + length), DARK, class_id)
    scene.polygon(front_quad(x - 1.1, x + 1.1, 1.3, height - 0.6, z), GLASS)
    scene.polygon(front_quad(x - 0.7, x + 0.7, height - 0.45, height - 0.15, z), (60, 200, 240))
    draw_lamps(scene, x, z, 2.4, 0.85, oncoming)


def draw_person(scene: Scene, x: float, z: float) -> None:
    """Draws somebody who walks."""
    rng = scene.rng
    tall = rng.uniform(0.8, 1.08)
    stride = rng.uniform(0.05, 0.3)
    skin, coat, trousers = scene.pick(SKINS), scene.pick(CLOTHES), scene.pick(CLOTHES) * 0.7

    def limb(start: tuple, end: tuple, width: float, colour: Colour) -> None:
        points = front_bar(np.multiply(start, tall), np.multiply(end, tall), z, width * tall)
        scene.polygon(points + (x, 0, 0), colour, PERSON)

    for foot in (-stride, stride):
        limb((foot * 0.3, 0.9), (foot, 0.03), 0.17, trousers)
        limb((foot - 0.08, 0.04), (foot + 0.12, 0.04), 0.09, DARK)
    for hand in (-1, 1):
        limb((hand * 0.2, 1.42), (hand * (0.26 + stride / 3), 0.85), 0.12, coat * 0.85)
    limb((0, 0.8), (0, 1.5), 0.42, coat)
    limb((0, 1.45), (0, 1.6), 0.14, skin)
    scene.polygon(front_ellipse(x, 1.64 * tall, z, 0.12, 0.15), skin, PERSON)
    scene.polygon(front_ellipse(x, 1.72 * tall, z, 0.125, 0.09), scene.pick(CLOTHES[:1]), PERSON)


def draw_rider(
    scene: Scene, x: float, z: float, turn: float, seat: tuple[float, float], hands: tuple[float, float]
) -> None:
    """Draws somebody who sits at ``seat`` and holds the handlebar at ``hands``."""
    skin, coat, trousers = scene.pick(SKINS), scene.pick(CLOTHES), scene.pick(CLOTHES) * 0.7
    hip, grip = np.array(seat), np.array(hands)
    shoulder = hip + (0.25, 0.55)
    knee, foot = hip + (0.38, -0.22), hip + (0.2, -0.62)
    bars = [
        (hip, knee, 0.19, trousers),
        (knee, foot, 0.15, trousers),
        (hip - (0, 0.08), shoulder + (0, 0.06), 0.4, coat),
        (shoulder, grip, 0.13, coat * 0.85),
    ]
    squeeze = (turn, 1)
    for start, end, width, colour in bars:
        points = front_bar(start * squeeze, end * squeeze, z, width) + (x, 0, 0)
        scene.polygon(points, colour, RIDER)
    head_x, head_y = x + turn * (shoulder[0] + 0.08), shoulder[1] + 0.26
    scene.polygon(front_ellipse(head_x, head_y, z, 0.13, 0.16), skin, RIDER)
    scene.polygon(
        front_ellipse(head_x, head_y + 0.07, z, 0.15, 0.12), scene.pick(CLOTHES, 40), RIDER
    )


def draw_bicycle(scene: Scene, x: float, z: float, turn: float, ridden: bool) -> None:
    """Draws a bicycle turned by ``turn`` (1 across the view); wheels count without their holes."""
    paint = scene.pick(PAINTS, 40)
    for hub in (-0.52, 0.52):
        rim = front_ellipse(x + turn * hub, 0.35, z, 0.35 * abs(turn), 0.35)
        scene.polygon(rim, None, BICYCLE)
        scene.polygon([rim, shrink(rim, 0.8)], TYRE)
    rear, front, crank = (-0.52, 0.35), (0.52, 0.35), (-0.05, 0.32)
    seat, head = (-0.22, 0.85), (0.38, 0.85)
    tubes = [(rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (front, head)]
    tubes += [(head, (0.32, 1.02)), (seat, (-0.24, 0.95))]
    for start, end in tubes:
        bar = front_bar(np.multiply(start, (turn, 1)), np.multiply(end, (turn, 1)), z, 0.06)
        scene.polygon(bar + (x, 0, 0), paint, BICYCLE)
    scene.polygon(front_ellipse(x - turn * 0.24, 0.97, z, 0.14, 0.05), DARK, BICYCLE)
    if ridden:
        draw_rider(scene, x, z, turn, (-0.22, 1.0), (0.34, 1.02))


def draw_motorcycle(scene: Scene, x: float, z: float, turn: float, ridden: bool) -> None:
    """Draws a motorcycle turned by ``turn`` (1 across the view)."""
    paint = scene.pick(PAINTS, 40)
    for hub in (-0.7, 0.7):
        for size, colour in ((0.34, TYRE), (0.17, METAL)):
            wheel = front_ellipse(x + turn * hub, 0.34, z, size * abs(turn), size)
            scene.polygon(wheel, colour, MOTORCYCLE)
    parts = [
        ([(-0.5, 0.3), (0.4, 0.25), (0.5, 0.6), (-0.4, 0.65)], DARK),
        ([(-0.8, 0.75), (-0.2, 0.6), (0.4, 0.6), (0.55, 0.9), (0.2, 0.95), (-0.2, 0.78)], paint),
        ([(-0.75, 0.78), (-0.1, 0.74), (-0.1, 0.84), (-0.75, 0.88)], DARK),
        ([(0.62, 0.34), (0.72, 0.34), (0.52, 1.1), (0.4, 1.1)], METAL),
        ([(-0.7, 0.25), (0.1, 0.25), (0.1, 0.34), (-0.7, 0.34)], METAL),
    ]
    for points, colour in parts:
        placed = [(x + turn * dx, y, z) for dx, y in points]
        scene.polygon(placed, colour, MOTORCYCLE)
    lamp = front_ellipse(x + turn * 0.6, 0.88, z, 0.11, 0.11)
    scene.polygon(lamp, (200, 240, 250), MOTORCYCLE)
    if ridden:
        draw_rider(scene, x, z, turn, (-0.25, 0.9), (0.42, 1.08))


def draw_lamp_post(scene: Scene, x: float, z: float) -> None:
    """Draws a street lamp whose arm reaches over the road."""
    reach = -1.6 * np.sign(x)
    scene.polygon(front_bar((x, 0), (x, 6.5), z, 0.2), METAL, POLE)
    scene.polygon(front_bar((x, 0), (x, 0.9), z, 0.3), METAL, POLE)
    scene.polygon(front_bar((x, 6.5), (x + reach, 6.9), z, 0.14), METAL, POLE)
    scene.polygon(front_ellipse(x + reach, 6.85, z, 0.4, 0.13), PAVEMENT, POLE)


def draw_traffic_light(scene: Scene, x: float, z: float) -> None:
    """Draws a traffic light with three lamps on a pole, one of them lit."""
    scene.polygon(front_bar((x, 0), (x, 2.6), z, 0.17), METAL, POLE)
    scene.polygon(front_quad(x - 0.26, x + 0.26, 2.3, 3.6, z), (35, 38, 36), TRAFFIC_LIGHT)
    lit = scene.rng.integers(3)
    for index, lamp in enumerate([(60, 60, 255), (50, 190, 255), (120, 230, 60)]):
        disc = front_ellipse(x, 3.36 - 0.41 * index, z, 0.17, 0.17)
        scene.polygon(disc, np.multiply(lamp, 1.0 if index == lit else 0.25))


def draw_traffic_sign(scene: Scene, x: float, z: float) -> None:
    """Draws a round, triangular or rectangular sign on a pole."""
    scene.polygon(front_bar((x, 0), (x, 2.9), z, 0.13), METAL, POLE)
    red, blue, yellow = (45, 40, 200), (190, 95, 30), (40, 195, 245)
    y = scene.rng.uniform(2.4, 2.8)
    triangle = [(x - 0.52, y - 0.4, z), (x + 0.52, y - 0.4, z), (x, y + 0.5, z)]
    shapes = [
        (front_ellipse(x, y, z, 0.45, 0.45), red, WHITE, 0.7),
        (front_ellipse(x, y, z, 0.45, 0.45), blue, WHITE, 0.35),
        (np.array(triangle), red, WHITE, 0.62),
        (front_quad(x - 0.4, x + 0.4, y - 0.4, y + 0.4, z), blue, WHITE, 0.5),
        (front_quad(x - 0.7, x + 0.7, y - 0.3, y + 0.3, z), yellow, DARK, 0.4),
    ]
    outline, rim, inside, share = shapes[scene.rng.integers(len(shapes))]
    scene.polygon(outline, rim, TRAFFIC_SIGN)
    scene.polygon(shrink(outline, share), inside)


def plan_traffic(scene: Scene) -> None:
    """Places vehicles and cyclists in both lanes, parked cars, and their shadows."""
    rng = scene.rng
    kinds = ["car", "truck", "bus", "motorcycle", "bicycle", "tram"]
    odds = np.array([0.42, 0.14, 0.14, 0.13, 0.17, 0.3 * scene.has_tram])
    for side in (-1, 1):
        oncoming = side < 0
        z = rng.uniform(6, 20)
        while z < 70:
            kind = rng.choice(kinds, p=odds / odds.sum())
            x = side * scene.lane / 2 + rng.uniform(-0.25, 0.25)
            turn = side * rng.uniform(0.45, 1.0)
            if kind == "car":
                length = plan_car(scene, x, z, oncoming)
            elif kind == "truck":
                length = TRUCK_LENGTH
                scene.shadow(x - 1.25, x + 1.25, z, z + length)
                scene.add(z, draw_truck, x, z, oncoming)
            elif kind in ("bus", "tram"):
                class_id, length = (BUS, BUS_LENGTH) if kind == "bus" else (TRAIN, TRAM_LENGTH)
                scene.shadow(x - 1.25, x + 1.25, z, z + length)
                scene.add(z, draw_coach, x, z, oncoming, class_id)
            else:
                length = 2.0
                draw = draw_motorcycle if kind == "motorcycle" else draw_bicycle
                scene.shadow(x - 0.6, x + 0.6, z - 0.2, z + 0.2)
                scene.add(z, draw, x, z, turn, True)
            z += length + rng.uniform(3, 18)
        if scene.parking:
            z = rng.uniform(4, 9)
            while z < 70:
                if rng.random() < 0.65:
                    plan_car(scene, side * (scene.kerb - 1.2), z, oncoming)
                z += CAR_LENGTH + 1.2


def plan_car(scene: Scene, x: float, z: float, oncoming: bool) -> float:
    """Places one car and its shadow; returns its length in metres."""
    scene.shadow(x - 0.95, x + 0.95, z, z + CAR_LENGTH)
    scene.add(z, draw_car, x, z, oncoming)
    return CAR_LENGTH


def plan_sidewalks(scene: Scene) -> None:
    """Places people, parked bikes, trees and the poles on both sidewalks, and their shadows."""
    rng = scene.rng
    has_trees = rng.random(2) < 0.5
    for side, trees in zip((-1, 1), has_trees, strict=True):
        kerbside = side * (scene.kerb + 0.5)
        for z in np.arange(rng.uniform(6, 20), 90, rng.uniform(14, 22)):
            scene.add(z, draw_lamp_post, kerbside, z)
            scene.shadow(kerbside - 0.1, kerbside + 0.1, z - 0.1, z + 0.1)
        if trees:
            for z in np.arange(rng.uniform(8, 20), 90, rng.uniform(9, 14)):
                scene.add(z, draw_tree, side * (scene.kerb + 0.8), z, rng.uniform(5, 8))
                scene.shadow(kerbside - 1.2, kerbside + 1.2, z - 1.2, z + 1.2)
        for draw, most in ((draw_traffic_light, 3), (draw_traffic_sign, 4)):
            for z in rng.uniform(6, 28, rng.integers(0, most)):
                scene.add(z, draw, kerbside + rng.uniform(-0.1, 0.1), z)
        for z in np.exp(rng.uniform(np.log(5), np.log(40), rng.integers(1, 7))):
            x = side * rng.uniform(scene.kerb + 0.7, scene.front - 0.4)
            scene.shadow(x - 0.2, x + 0.2, z - 0.15, z + 0.15)
            scene.add(z, draw_person, x, z)
        for z in rng.uniform(6, 22, rng.integers(0, 3)):
            x = side * rng.uniform(scene.kerb + 0.9, scene.front - 0.5)
            draw = draw_bicycle if rng.random() < 0.6 else draw_motorcycle
            scene.shadow(x - 0.6, x + 0.6, z - 0.2, z + 0.2)
            scene.add(z, draw, x, z, rng.choice([-1, 1]) * rng.uniform(0.6, 1), False)


def draw_crossing(scene: Scene) -> None:
    """Draws a zebra crossing, and plans people on it."""
    rng, z = scene.rng, scene.rng.uniform(9, 16)
    stripes = [ground_quad(x, x + 0.5, z, z + 3) for x in np.arange(-scene.kerb + 0.4, scene.kerb - 0.6, 1)]
    scene.polygon(stripes, WHITE)
    for x in rng.uniform(-scene.kerb, scene.kerb, rng.integers(1, 4)):
        depth = z + rng.uniform(0.3, 2.7)
        scene.shadow(x - 0.2, x + 0.2, depth - 0.15, depth + 0.15)
        scene.add(depth, draw_person, x, depth)


def draw_bonnet(scene: Scene) -> None:
    """Draws the bonnet of the camera's own car, which is ignored."""
    height, width = scene.label.shape
    rise = height * scene.rng.uniform(0.05, 0.1)
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
    return np.clip(seen + rng.uniform(1.5, 5) * noise, 0, 255).astype(np.uint8)


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
    # checks
    # check_count("seed", seed, 0, None)
    scene = Scene(size, np.random.Generator(np.random.PCG64(seed)))
    draw_sky(scene)
    draw_ground(scene)
    if scene.rng.random() < 0.4:
        draw_crossing(scene)
    plan_traffic(scene)
    plan_sidewalks(scene)
    cast_shadows(scene)
    draw_backdrop(scene)
    draw_lots(scene)
    for _, draw in sorted(scene.things, key=lambda thing: -thing[0]):
        draw()
    draw_bonnet(scene)
    return expose(scene), scene.label
