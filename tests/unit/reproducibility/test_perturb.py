import os
import subprocess
import sys
from pathlib import Path

from sidebyside.reproducibility.perturb import perturbed

PROJECT = Path(__file__).resolve().parents[3]
SCRIPT = """
import os, time
from pathlib import Path
print(time.gmtime().tm_year, os.umask(0))
print(os.listdir("files"), sorted(path.name for path in Path("files").iterdir()))
print([entry.name for entry in os.scandir("files")], next(os.walk("files"))[2])
"""


def test_a_perturbed_process_has_another_clock_umask_and_order_of_files(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/sidebyside").symlink_to(PROJECT / "src/sidebyside")
    (tmp_path / "files").mkdir()
    for name in "bca":
        (tmp_path / "files" / name).touch()
    with perturbed(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines() == [
        f"2031 {0o077}",
        "['c', 'b', 'a'] ['a', 'b', 'c']",
        "['c', 'b', 'a'] ['c', 'b', 'a']",
    ]


def test_the_environment_is_restored_after_the_block(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    before, umask = dict(os.environ), os.umask(0o027)
    try:
        with perturbed(tmp_path):
            assert os.environ["TZ"] == "Asia/Kathmandu"
    finally:
        restored = os.umask(umask)
    assert restored == 0o027
    assert dict(os.environ) == before
