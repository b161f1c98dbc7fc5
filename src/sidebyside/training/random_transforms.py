"""Transform training batches at random inside a TensorFlow function."""

import tensorflow as tf


def transform_randomly(
    images: tf.Tensor, seed: tf.Tensor, *, flip: bool, shift: int, cutout: int
) -> tf.Tensor:
    """Return a randomly transformed batch of the same shape: a function of images and seed.

    Args:
        images: uint8 [N, height, width] or [N, height, width, channels].
        seed: two integers, different for every batch.
        flip: flip each image horizontally with probability 1/2.
        shift: maximum shift in pixels in each direction; the new border is 0.
        cutout: side in pixels of a square at a random position that is set to 0 (DeVries & Taylor
            2017); 0 for none.
    """
    count = tf.shape(images)[0]
    height, width, *channels = images.shape[1:]
    per_image = [1] * len(channels)  # further axes of a mask, over all channels
    flip_seed, shift_seed, cutout_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    rows, columns = tf.range(height), tf.range(width)
    if flip:
        flipped = tf.random.stateless_uniform([count, 1, 1, *per_image], flip_seed) < 0.5
        images = tf.where(flipped, tf.reverse(images, [2]), images)
    if shift:
        shifts = tf.random.stateless_uniform([count, 2], shift_seed, 0, 2 * shift + 1, tf.int32)
        padded = tf.pad(
            images, [[0, 0], [shift, shift], [shift, shift], *([[0, 0]] * len(channels))]
        )
        moved = tf.gather(padded, shifts[:, :1] + rows, axis=1, batch_dims=1)
        images = tf.gather(moved, shifts[:, 1:] + columns, axis=2, batch_dims=1)
    if cutout:
        bits = tf.random.stateless_uniform([count, 2], cutout_seed, None, None, tf.uint32)
        positions = tf.constant([height + cutout - 1, width + cutout - 1], tf.uint32)
        corners = tf.cast(bits % positions, tf.int32) + (1 - cutout)
        in_rows, in_columns = (
            (pixels >= corners[:, axis, None]) & (pixels < corners[:, axis, None] + cutout)
            for axis, pixels in enumerate((rows, columns))
        )
        square = tf.reshape(
            in_rows[:, :, None] & in_columns[:, None, :], [count, height, width, *per_image]
        )
        images = tf.where(square, tf.zeros_like(images), images)
    return images
