"""Download an archive over HTTP, with limits on its size and duration."""

import http.client
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from sidebyside.config.dataset_description import RawFile
from sidebyside.core.progress_bar import transfer_bar
from sidebyside.data.archives import SourceError, max_archive_size

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes
MIN_SPEED = 16_384  # bytes per second, two ISDN channels; a slower server is abandoned


def download(url: str, file: RawFile, timeout: float) -> bytes:
    """Return the archive of `file` at `url`, not yet verified.

    A thread receives the data, so that name resolution, connecting, slow headers and the body all
    count against the time limit, and Ctrl-C interrupts each of them.

    Args:
        url: location of the archive.
        file: the file in it; determines the maximum size.
        timeout: seconds without a connection or a byte before the server is abandoned; also the
            interval over which MIN_SPEED is checked.

    Raises:
        SourceError: no response, a status other than 200, an HTML page, or a body that is
            truncated, too large or too slow.
    """
    name = url.rpartition("/")[2]
    channel: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_receive, args=(url, timeout, channel, stop), daemon=True).start()
    try:
        # Connecting and the first byte have a time limit each.
        response = _next(channel, 2 * timeout, timeout, name)
        length = _content_length(response, name)
        limit = max_archive_size(file)
        too_large = f"{name}: larger than any archive of {file.size:,} bytes"
        if length is not None and length > limit:
            raise SourceError(too_large)
        content = bytearray()
        deadline, target = time.monotonic() + timeout, MIN_SPEED * timeout
        with transfer_bar(name, length) as bar:
            while chunk := _next(channel, timeout, timeout, name):
                content += chunk
                bar.update(len(chunk))
                if len(content) > limit:
                    raise SourceError(too_large)
                if time.monotonic() > deadline:
                    if len(content) < target:
                        raise SourceError(f"{name}: slower than {MIN_SPEED:,} bytes per second")
                    deadline = time.monotonic() + timeout
                    target = len(content) + MIN_SPEED * timeout
    finally:
        stop.set()
    if content.lstrip()[:1] == b"<":
        raise SourceError(f"{name}: the response is an HTML page")
    return bytes(content)


def _receive(
    url: str, timeout: float, channel: "queue.SimpleQueue[Any]", stop: threading.Event
) -> None:
    """Put the response, then its chunks, then b"" into the channel; or an exception."""
    import requests  # noqa: PLC0415 (0.1 s, needed only for a download)

    try:
        # A server that compressed the archive once more would hide its size.
        headers = {"Accept-Encoding": "identity"}
        hooks = {"response": _close_redirect}
        with requests.get(
            url, stream=True, timeout=timeout, headers=headers, hooks=hooks
        ) as response:
            channel.put(response)
            while not stop.is_set():
                # read1 returns the bytes received so far; read would wait for a full chunk.
                chunk = response.raw.read1(CHUNK, decode_content=False)
                channel.put(chunk or b"")
                if not chunk:
                    break
    except Exception as error:  # the other thread reports errors of any type
        channel.put(error)


def _close_redirect(response: "Response", **_: Any) -> None:
    """Close a redirect before requests reads its whole body, which may have no end."""
    if response.is_redirect:
        response.close()


def _next(channel: "queue.SimpleQueue[Any]", wait: float, timeout: float, name: str) -> Any:
    try:
        item = channel.get(timeout=wait)
    except queue.Empty:
        raise SourceError(f"{name}: no response within {timeout:g} s") from None
    if isinstance(item, Exception):
        raise SourceError(f"{name}: {_root_cause(item, timeout)}")
    return item


def _root_cause(error: BaseException, timeout: float) -> str:
    """Return the message of the innermost exception; those of requests contain addresses."""
    while True:
        if isinstance(error, TimeoutError):
            return f"no response within {timeout:g} s"
        if isinstance(error, http.client.IncompleteRead):
            return "the response is truncated"
        deeper = error.__cause__ or error.__context__
        if deeper is None:
            break
        error = deeper
    strerror = error.strerror if isinstance(error, OSError) else None
    return " ".join((strerror or str(error)).split()) or type(error).__name__


def _content_length(response: "Response", name: str) -> int | None:
    """Return the length that the response announces, or None if it announces none.

    Raises:
        SourceError: the response is an error or an HTML page.
    """
    if response.status_code != http.HTTPStatus.OK:
        raise SourceError(f"{name}: {response.status_code} {response.reason}".rstrip())
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise SourceError(f"{name}: the response is an HTML page")
    try:
        return int(response.headers.get("Content-Length", ""))
    except ValueError:  # not a number, or of more digits than int() converts
        return None
