"""Run a command beside a Ray cluster of two nodes on this machine, which ends with the command.

The cluster is for trying: two nodes share the cores. All its processes listen on 127.0.0.1 alone
and require a token that only the command gets.
"""

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sidebyside.core.cores import cores
from sidebyside.execution.ray_cluster import ADDRESS
from sidebyside.workflow import command

NODES = 2
ADDRESS_OF_NODES = "127.0.0.1"
MEMORY = 512 << 20  # bytes of a node for arrays


def main() -> None:
    """Start the cluster, run the command and end the cluster."""
    parser = command.parser(__doc__)
    parser.add_argument("program", help="program to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args()
    os.environ.update(variables())
    with local_cluster(NODES, max(1, cores() // NODES)) as running:
        print(f"{ADDRESS}={running.address}", flush=True)
        status = call([given.program, *given.arguments], {ADDRESS: running.address})
    raise SystemExit(status)


def variables() -> dict[str, str]:
    """Return environment variables for the cluster and for programs that use it.

    Ray reads them when it is imported. Where it supports clusters of several machines, it would
    replace 127.0.0.1 by the address of a network interface, and listen on all interfaces.
    """
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@contextlib.contextmanager
def local_cluster(number: int, size: int) -> Iterator[Any]:
    """Yield Ray's object for a new cluster, which ends with the block.

    The environment variables `variables()` have to be set before Ray is imported.

    Args:
        number: of nodes.
        size: cores of each node.
    """
    from ray.cluster_utils import Cluster

    running = Cluster()
    try:
        for _ in range(number):
            add_node(running, size)
        yield running
    finally:
        processes = [process for node in running.list_all_nodes() for process in processes_of(node)]
        running.shutdown()
        for process in processes:
            process.wait()


def add_node(running: Any, size: int) -> None:
    """Start a node of a cluster that `local_cluster` has yielded, with a number of cores."""
    running.add_node(
        num_cpus=size,
        node_ip_address=ADDRESS_OF_NODES,
        object_store_memory=MEMORY,
        include_dashboard=False,
    )


def processes_of(node: Any) -> "list[subprocess.Popen[bytes]]":
    """Return the processes of a node that this process has started."""
    return [one.process for several in node.all_processes.values() for one in several]


def call(line: Sequence[str], added: Mapping[str, str]) -> int:
    """Run a command on this terminal and return its exit status.

    Args:
        line: program and arguments.
        added: environment variables to set.
    """
    with subprocess.Popen(line, env={**os.environ, **added}) as process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the command as well
        try:
            return process.wait()
        except command.Terminated:
            process.terminate()
            raise


if __name__ == "__main__":
    command.run(main)
