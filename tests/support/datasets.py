"""Records of data sets for tests."""

from sidebyside.config.dataset import Dataset, SplitSummary

CLASS_NAMES = (  # of Fashion-MNIST
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def dataset(
    height: int = 28,
    width: int = 28,
    channels: int = 1,
    class_names: tuple[str, ...] = CLASS_NAMES,
    *,
    name: str = "made-up",
    title: str = "Made up",
    preparation: str = "",
) -> Dataset:
    """Return a data set of that shape with those classes."""
    split = SplitSummary(images=1, sha256="0" * 64)
    return Dataset.model_validate(
        {
            "name": name,
            "title": title,
            "height": height,
            "width": width,
            "channels": channels,
            "class_names": class_names,
            "mirror": True,
            "preparation": preparation or ("trim" if channels == 1 else "pad"),
            "splits": dict.fromkeys(("train", "val", "test"), split.model_dump()),
        }
    )


FASHION_MNIST = dataset(name="fashion-mnist", title="Fashion-MNIST")  # its names and its shape
