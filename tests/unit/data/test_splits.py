import numpy as np

from sidebyside.data.splits import Split, split_digest
from tests.support.splits import random_split


def test_the_digest_depends_on_pixels_labels_and_shape_only() -> None:
    split = random_split()
    digests = {split_digest(split)}
    for index in (0, len(split) - 1):
        images, labels = split.images.copy(), split.labels.copy()
        images[index, 27, 27] ^= 1
        labels[index] = (labels[index] + 1) % 10
        digests |= {split_digest(Split(images, split.labels))}
        digests |= {split_digest(Split(split.images, labels))}
    digests |= {split_digest(Split(split.images.reshape(-1, 14, 56), split.labels))}
    assert len(digests) == 6
    strided = Split(np.asfortranarray(split.images), split.labels.repeat(2)[::2])
    assert split_digest(strided) == split_digest(split)
    assert len(split_digest(split)) == 64
