"""The two books' nets of `dcgan-mnist`: code ``[B, 100]``, image ``[B, 28, 28, 1]``, class one-hot ``[B, 10]`` or None → picture, logit."""

import keras

L = keras.layers


def b1(_, code, image, kind):
    """The class at every stage, as ten extra numbers or ten constant maps.

    The first convolution has 11 maps and the second 74: the companion code adds the number of classes to 1 and to 64.
    """

    def told(x):
        if len(x.shape) == 2:
            return L.Concatenate()([x, kind])
        height, width = x.shape[1:3]
        return L.Concatenate()([x, L.Reshape((height, width, kind.shape[1]))(L.RepeatVector(height * width)(kind))])

    def normal():
        return keras.initializers.RandomNormal(stddev=0.02)

    def deconv(maps, **options):
        return L.Conv2DTranspose(maps, 5, 2, padding="same", kernel_initializer=normal(), **options)

    def conv(maps):
        return L.Conv2D(maps, 5, 2, padding="same", kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02))

    def norm():
        return L.BatchNormalization(momentum=0.9, epsilon=1e-5)

    x = told(L.ReLU()(norm()(L.Dense(1024, kernel_initializer=normal())(told(code)))))
    x = told(L.Reshape((7, 7, 128))(L.ReLU()(norm()(L.Dense(6272, kernel_initializer=normal())(x)))))
    x = told(L.ReLU()(norm()(deconv(128)(x))))
    picture = deconv(1, activation="sigmoid", dtype="float32", name="picture")(x)

    x = told(L.LeakyReLU(0.2)(conv(11)(told(image))))
    x = told(L.Flatten()(L.LeakyReLU(0.2)(norm()(conv(74)(x)))))
    x = told(L.LeakyReLU(0.2)(norm()(L.Dense(1024, kernel_initializer=normal(), name="features")(x))))
    return picture, L.Dense(1, kernel_initializer=normal(), dtype="float32", name="logit")(x)


def b2(_, code, image, kind):
    """As printed in Keras: tanh everywhere, pooling, no batch norm in the discriminator, no classes."""
    x = L.Dense(1024, "tanh")(code)
    x = L.Reshape((7, 7, 128))(L.Activation("tanh")(L.BatchNormalization()(L.Dense(6272)(x))))
    x = L.Conv2D(64, 5, padding="same", activation="tanh")(L.UpSampling2D(2)(x))
    picture = L.Conv2D(1, 5, padding="same", activation="tanh", dtype="float32", name="picture")(L.UpSampling2D(2)(x))

    x = L.MaxPooling2D(2)(L.Conv2D(64, 5, padding="same", activation="tanh")(image))
    x = L.MaxPooling2D(2)(L.Conv2D(128, 5, activation="tanh")(x))
    return picture, L.Dense(1, dtype="float32", name="logit")(L.Dense(1024, "tanh", name="features")(L.Flatten()(x)))
