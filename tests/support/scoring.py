"""The scoring server in a thread of the tests."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from sidebyside.config.dataset import Dataset
from sidebyside.serving.answer import Classifier, Predict, RegisteredModel
from sidebyside.serving.scoring_server import BODY_SECONDS, create_server
from tests.support.datasets import FASHION_MNIST

REGISTERED = RegisteredModel(name="fashion-mnist-cnn", version="3", dataset="fashion-mnist")


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: uvicorn.Server
    thread: threading.Thread
    address: tuple[str, int]

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)


@contextlib.contextmanager
def serving(
    predict: Predict,
    uploads: Path,
    body_seconds: float = BODY_SECONDS,
    dataset: Dataset = FASHION_MNIST,
) -> Iterator[Running]:
    """Run a server of a model for images of a data set, with its default limits."""
    classifier = Classifier(predict, dataset, REGISTERED)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # for unread answers
        server = create_server(classifier, "1.2.3", uploads, body_seconds=body_seconds)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Running(server, thread, listener.getsockname())
        server.should_exit = True
        thread.join()
