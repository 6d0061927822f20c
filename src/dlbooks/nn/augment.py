"""Random changes of training pictures that keep their class, on whole batches inside the compiled training step.

A random change takes pictures ``[B, H, W, C]`` and an int32 seed pair, (pass, step) in ``compiled_epoch``, and draws from it by stateless
ops alone: the same pair gives the same pictures, on any machine and after any resume. Type and range of the pictures stay, but for ``jitter``.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the pictures left to right."""
    return mirror(images, tf.random.stateless_uniform((tf.shape(images)[0],), seed) < 0.5)


def mirror(images: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Mirrors the pictures ``chosen`` (bool ``[B]``) left to right."""
    return tf.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def alternating(first: np.ndarray, number: int) -> np.ndarray:
    """Which pictures to ``mirror`` in pass ``number``: those of ``first`` (bool ``[n]``) in even passes, the others in odd ones.

    Two passes in a row show both sides of every picture; with independent coins a quarter of them show one side twice and a quarter the other.
    K. Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, 2024.
    """
    return first ^ bool(number % 2)


def crop(images: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    """A square of ``size`` pixels from each picture, every place as likely as the others: ``[B, H, W, C]`` → ``[B, size, size, C]``."""
    height, width = images.shape[1], images.shape[2]
    limits = tf.constant([height - size + 1, width - size + 1])
    draws = tf.random.stateless_uniform((2, tf.shape(images)[0]), seed)
    top, left = tf.unstack(tf.cast(draws * tf.cast(limits, tf.float32)[:, None], tf.int32))
    rows = tf.gather(images, top[:, None] + tf.range(size), axis=1, batch_dims=1)
    columns = tf.gather(tf.transpose(rows, (0, 2, 1, 3)), left[:, None] + tf.range(size), axis=1, batch_dims=1)
    return tf.ensure_shape(tf.transpose(columns, (0, 2, 1, 3)), (None, size, size, images.shape[3]))


def central_crop(images, size: int):
    """The square of ``size`` pixels in the middle of each picture."""
    top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
    return images[:, top : top + size, left : left + size]


def pad_crop(images: tf.Tensor, seed: tf.Tensor, pad: int) -> tf.Tensor:
    """Shifts by up to ``pad`` pixels each way; the border is filled with the picture's own reflection."""
    return crop(tf.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "REFLECT"), seed, images.shape[1])


def jitter(images: tf.Tensor, seed: tf.Tensor, brightness: float, contrast: tuple[float, float]) -> tf.Tensor:
    r"""Random brightness, then random contrast, a draw per picture: $(x + b - m)c + m$ with the mean $m$ of each channel of $x + b$.

    $b$ is uniform in ± ``brightness``, $c$ in ``contrast``. The result is float32 and may leave the pictures' range.
    """
    b, c = tf.unstack(tf.random.stateless_uniform((2, tf.shape(images)[0], 1, 1, 1), seed))
    brighter = tf.cast(images, tf.float32) + (2 * b - 1) * brightness
    mean = tf.reduce_mean(brighter, (1, 2), keepdims=True)
    return (brighter - mean) * (contrast[0] + c * (contrast[1] - contrast[0])) + mean


def views(images: np.ndarray, shift: int = 1) -> np.ndarray:
    """Six looks at each picture for use at test time: as it is, shifted up left, shifted down right, each also mirrored; ``[6, B, H, W, C]``.

    A shift fills the border with the picture's reflection.
    """
    size = images.shape[1]
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)), "reflect")
    looks = [padded[:, at : at + size, at : at + size] for at in (shift, 0, 2 * shift)]
    return np.stack([*looks, *(look[:, :, ::-1] for look in looks)])


def affine(images: tf.Tensor, seed: tf.Tensor, *, rotation: float = 0.0, shift: float = 0.0, zoom: float = 0.0) -> tf.Tensor:
    """Rotates, shifts and scales about the center; uncovered pixels become 0.

    ``rotation`` in degrees, ``shift`` in pixels, ``zoom`` as a fraction: each is drawn uniformly from ± its value. With ``shift`` alone the
    offsets are whole pixels, so nothing is blurred; otherwise pixels are interpolated bilinearly.
    """
    images = tf.convert_to_tensor(images)
    height, width = images.shape[1], images.shape[2]
    turn, right, down, scale = tf.unstack(tf.random.stateless_uniform((4, tf.shape(images)[0]), seed, -1.0, 1.0))
    whole = not rotation and not zoom
    if whole:
        right, down = (tf.round(d * (shift + 0.5 - 1e-3)) for d in (right, down))
    else:
        right, down = right * shift, down * shift
    angle = turn * (rotation * math.pi / 180)
    scale = 1 / (1 + scale * zoom)
    cosine, sine = tf.cos(angle) * scale, tf.sin(angle) * scale
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    # the op wants the map from a target pixel to its source: back by the shift, then turned and scaled about the center
    offset_x = middle_x - cosine * (middle_x + right) + sine * (middle_y + down)
    offset_y = middle_y - sine * (middle_x + right) - cosine * (middle_y + down)
    zero = tf.zeros_like(angle)
    transforms = tf.stack([cosine, -sine, offset_x, sine, cosine, offset_y, zero, zero], axis=1)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="NEAREST" if whole else "BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.cast(tf.round(moved) if images.dtype.is_integer else moved, images.dtype)
