"""Transform training batches at random inside a TensorFlow function."""

import tensorflow as tf

from sidebyside.config.dataset import IMAGE_SIZE


def transform_randomly(
    images: tf.Tensor, seed: tf.Tensor, *, flip: bool, shift: int, cutout: int
) -> tf.Tensor:
    """Return a randomly transformed batch, uint8 [N, 28, 28]: a function of images and seed.

    Args:
        images: uint8 [N, 28, 28].
        seed: two integers, different for every batch.
        flip: flip each image horizontally with probability 1/2.
        shift: maximum shift in pixels in each direction; the new border is 0.
        cutout: side in pixels of a square at a random position that is set to 0 (DeVries & Taylor
            2017); 0 for none.
    """
    count = tf.shape(images)[0]
    flip_seed, shift_seed, cutout_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    pixels = tf.range(IMAGE_SIZE)
    if flip:
        flipped = tf.random.stateless_uniform([count, 1, 1], flip_seed) < 0.5
        images = tf.where(flipped, tf.reverse(images, [2]), images)
    if shift:
        shifts = tf.random.stateless_uniform([count, 2], shift_seed, 0, 2 * shift + 1, tf.int32)
        padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift]])
        rows = tf.gather(padded, shifts[:, :1] + pixels, axis=1, batch_dims=1)
        images = tf.gather(rows, shifts[:, 1:] + pixels, axis=2, batch_dims=1)
    if cutout:
        corners = tf.random.stateless_uniform(
            [count, 2], cutout_seed, 1 - cutout, IMAGE_SIZE, tf.int32
        )
        inside = (pixels >= corners[:, :, None]) & (pixels < corners[:, :, None] + cutout)
        square = inside[:, 0, :, None] & inside[:, 1, None, :]
        images = tf.where(square, tf.zeros_like(images), images)
    return images
