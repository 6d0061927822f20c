"""Random changes of training pictures that keep their class, on whole batches inside the compiled training step.

Every function takes pictures ``[B, H, W, C]`` and an int32 seed pair, (pass, step) in ``compiled_epoch``, and draws from it by stateless
ops alone: the same pair gives the same pictures, on any machine and after any resume. Type and range of the pictures stay.
"""

from __future__ import annotations

import math

import tensorflow as tf


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the pictures left to right."""
    chosen = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed) < 0.5
    return tf.where(chosen, images[:, :, ::-1], images)


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
