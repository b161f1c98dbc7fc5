import pytest

from sidebyside.execution.ray_cluster import gpus_per_job


@pytest.mark.parametrize(
    ("machine", "resources", "anywhere", "gpus"),
    [
        ({}, {"CPU": 2.0}, True, 0),
        ({}, {"CPU": 2.0, "GPU": 1.0}, False, 0),  # the results of a GPU would be others
        ({}, {"CPU": 2.0, "GPU": 1.0}, True, 1),
        ({"gpu": "NVIDIA A"}, {"CPU": 2.0, "GPU": 1.0}, False, 1),
        ({"gpu": "NVIDIA A"}, {"CPU": 2.0}, False, 1),  # waits for a node with a GPU
    ],
)
def test_jobs_use_a_gpu_if_their_results_may_be_those_of_one(
    machine: dict[str, str], resources: dict[str, float], anywhere: bool, gpus: int
) -> None:
    assert gpus_per_job(machine, resources, anywhere=anywhere) == gpus
