from sidebyside.data.fashion_mnist import RAW_FILES


def test_the_published_files_have_the_sizes_of_60000_and_10000_images() -> None:
    sizes = [file.size for file in RAW_FILES]
    assert sizes == [60_000 * 784 + 16, 60_000 + 8, 10_000 * 784 + 16, 10_000 + 8]
    assert len({file.sha256 for file in RAW_FILES}) == 4
    assert all(len(file.sha256) == 64 for file in RAW_FILES)
