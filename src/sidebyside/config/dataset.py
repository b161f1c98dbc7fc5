"""Shape and class names of the data set that everything after `preprocess` relies on."""

IMAGE_SIZE = 28  # pixels, both ways
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASSES = len(CLASS_NAMES)
