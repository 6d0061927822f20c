"""Layer arithmetic against TensorFlow, Keras and worked numbers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlbooks.nn import convolution as c


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv_out_equals_tensorflow(padding):
    # Shape inference, not the op: on a kernel larger than the picture TensorFlow 2.21's eager CPU convolution returns stray memory.
    with tf.Graph().as_default():
        pictures = {n: tf.zeros((1, n, n, 1)) for n in range(1, 21)}
        kernels = {k: tf.zeros((k, k, 1, 1)) for k in range(1, 8)}
        for n, k, s, d in itertools.product(range(1, 21), range(1, 8), range(1, 5), range(1, 4)):
            try:
                expected = tf.raw_ops.Conv2D(
                    input=pictures[n], filter=kernels[k], strides=[1, s, s, 1], padding=padding.upper(), dilations=[1, d, d, 1]
                ).shape[1]
            except ValueError as error:
                assert "Negative dimension size" in str(error)
                with pytest.raises(ValueError, match=f"covers {d * (k - 1) + 1} cells, the picture has {n}"):
                    c.conv_out(n, k, s, padding, d)
            else:
                assert c.conv_out(n, k, s, padding, d) == expected, (n, k, s, d)


def test_same_padding_goes_to_the_far_side_first():
    assert c.same_pad(4, 2) == (0, 1) and c.same_pad(5, 3) == (1, 1) and c.same_pad(6, 3, 2) == (0, 1) and c.same_pad(9, 1, 3) == (0, 0)
    for n, k, s, d in itertools.product(range(1, 12), range(1, 6), range(1, 4), range(1, 3)):
        before, after = c.same_pad(n, k, s, d)
        assert 0 <= after - before <= 1
        assert c.conv_out(n + before + after, k, s, "valid", d) == c.conv_out(n, k, s, "same", d)


def test_explicit_padding_is_floored():
    assert [c.conv_out(4, 3, s, 1) for s in (1, 2)] == [4, 2]  # (4 + 2 − 3)/2 + 1 = 2.5
    assert [c.conv_out(n, 3, 1, 1) for n in (1080, 1920)] == [1080, 1920]
    for n, k, s, p in itertools.product(range(5, 12), range(1, 6), range(1, 4), range(3)):
        assert c.conv_out(n, k, s, p) == c.conv_out(n + 2 * p, k, s, "valid")


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_transposed_inverts_and_equals_keras(padding):
    for n, k, s in itertools.product(range(1, 8), range(1, 6), range(1, 4)):
        large = c.deconv_out(n, k, s, padding)
        assert c.conv_out(large, k, s, padding) == n
        layer = keras.layers.Conv2DTranspose(1, k, s, padding)
        assert layer.compute_output_shape((1, n, n, 1))[1] == large, (n, k, s)


def test_deconvolution_of_three_cells_may_give_five_or_six():
    assert c.deconv_out(3, 2, 2) == 6 and {n for n in range(1, 20) if c.conv_out(n, 2, 2) == 3} == {5, 6}


def test_parameters_equal_keras():
    def count(layer, *shape):
        layer.build((None, *shape))
        return layer.count_params()

    assert c.conv_params(5, 6, 16) == count(keras.layers.Conv2D(16, 5), 14, 14, 6) == 2416
    assert c.conv_params((1, 3), 4, 7, bias=False) == count(keras.layers.Conv2D(7, (1, 3), use_bias=False), 8, 8, 4)
    assert c.dense_params(400, 120) == count(keras.layers.Dense(120), 400) == 48120
    assert c.rnn_params(100, 128) == count(keras.layers.SimpleRNN(128), None, 100) == 29_312
    assert c.rnn_params(100, 128, "lstm") == count(keras.layers.LSTM(128), None, 100) == 117_248
    assert c.rnn_params(100, 128, "gru") == count(keras.layers.GRU(128), None, 100) == 88_320
    assert c.rnn_params(100, 128, "gru", reset_after=False) == count(keras.layers.GRU(128, reset_after=False), None, 100) == 87_936


def test_connections():
    assert c.conv_connections(5, 1, 6, 28) == 4704 * 26 == 122_304
    assert c.conv_connections(5, 6, 16, (10, 10)) == 241_600
    assert c.conv_connections(1, 3, 2, (1, 4), bias=False) == 24


def test_receptive_fields():
    assert c.receptive_field([(5, 1), (2, 2), (5, 1), (2, 2), (5, 1)]) == [5, 6, 14, 16, 32]
    patchgan = [(4, 2)] * 3 + [(4, 1)] * 2
    assert c.receptive_field(patchgan)[-1] == 70
    backwards = 1
    for k, s in reversed(patchgan):
        backwards = (backwards - 1) * s + k
    assert backwards == 70
    gradient_reaches = []  # the cells whose change can move one output
    for start in range(40):
        x = np.zeros((1, 40, 1), np.float32)
        x[0, start] = 1
        for k, s in [(3, 2), (3, 1)]:
            x = tf.nn.conv1d(x, tf.ones((k, 1, 1)), s, "VALID")
        gradient_reaches.append(float(x[0, 4, 0]) > 0)
    assert sum(gradient_reaches) == c.receptive_field([(3, 2), (3, 1)])[-1] == 7


def test_kernels():
    sums = {name: round(float(c.kernel(name).sum()), 6) for name in c.KERNELS}
    assert sums == {"identity": 1, "box3": 1, "gauss3": 1, "gauss5": 1, "sharpen": 1, "laplace4": 0, "laplace8": 0, "sobel_x": 0, "sobel_y": 0}
    assert c.kernel("sharpen").tolist() == [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
    assert c.kernel("sobel_x").tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    np.testing.assert_array_equal(c.kernel("sobel_y"), c.kernel("sobel_x").T)
    np.testing.assert_allclose(c.kernel("identity") - c.kernel("laplace4"), c.kernel("sharpen"))
    assert c.kernel("gauss5").shape == (5, 5) and c.kernel("gauss5").dtype == np.float32


@pytest.mark.parametrize("name", list(c.KERNELS))
@pytest.mark.parametrize("padding, stride", [("same", 1), ("valid", 1), ("same", 2), ("valid", 3)])
def test_apply_kernel_equals_depthwise_convolution(name, padding, stride):
    picture = np.random.default_rng(0).integers(0, 256, (11, 14, 3), dtype=np.uint8)
    weights = c.kernel(name)
    filters = tf.tile(weights[:, :, None, None], (1, 1, 3, 1))
    expected = tf.nn.depthwise_conv2d(tf.cast(picture[None], tf.float32), filters, [1, stride, stride, 1], padding.upper())[0]
    got = c.apply_kernel(picture, weights, padding, stride)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-3)
    np.testing.assert_array_equal(c.apply_kernel(picture[..., 1], weights, padding, stride), got[..., 1])


def test_apply_kernel_pads_explicitly_and_takes_any_kernel():
    picture = np.arange(12.0).reshape(3, 4)
    wide = c.apply_kernel(picture, np.ones((1, 3)), 1)
    assert wide.shape == (5, 4) and wide[1].tolist() == [1, 3, 6, 5] and not wide[0].any()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: c.conv_out(4, 5, 1, "valid"), "kernel covers 5 cells, the picture has 4"),
        (lambda: c.conv_out(2, 7, 1, 1), r"kernel covers 7 cells, the picture has 2 \+ 2·1 of padding"),
        (lambda: c.conv_out(4, 3, 0), "stride is 0"),
        (lambda: c.conv_out(4, 3, 1, "full"), "padding is 'full'"),
        (lambda: c.conv_out(4, 3, 1, -1), "padding is -1"),
        (lambda: c.conv_out(4, 3, 1, "same", 0), "dilation is 0"),
        (lambda: c.deconv_out(0, 3), "size is 0"),
        (lambda: c.deconv_out(3, 3, 1, "full"), "padding is 'full'"),
        (lambda: c.receptive_field([(3, 1), (0, 1)]), "kernel is 0"),
        (lambda: c.rnn_params(3, 4, "elman"), "must be one of simple, lstm, gru"),
        (lambda: c.kernel("emboss"), "must be one of identity, box3"),
        (lambda: c.apply_kernel(np.ones((2, 9)), c.kernel("box3"), "valid"), "kernel covers 3 cells, the picture has 2"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
