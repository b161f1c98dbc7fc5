"""Print the rate of a large float32 matrix product in TensorFlow, in operations per second."""

import time

from benchmarks import workloads
from sidebyside.models.tensorflow_setup import configure

SIZE = 2048
TIMES = 20


def main() -> None:
    """Print the median rate."""
    configure(workloads.THREADS)
    import tensorflow as tf

    matrix = tf.ones([SIZE, SIZE])
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    seconds = []
    for _ in range(TIMES):
        started = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - started)
    print(2 * SIZE**3 / sorted(seconds)[TIMES // 2])


if __name__ == "__main__":
    main()
