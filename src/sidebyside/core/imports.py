"""Load large packages in little time."""

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def fast_imports(without: Sequence[str] = ()) -> Iterator[None]:
    """Import in this block without garbage collection, then or ever after, of what is loaded.

    Modules stay until the process ends, and nothing of them is garbage. Still each collection goes
    through all they hold: many times while they load, at each of Keras's `clear_session`, and at
    the end.

    Args:
        without: packages that seem not to be installed meanwhile, if they are not loaded yet.
    """
    absent = [name for name in without if name not in sys.modules]
    # Documented: "If the value is None, then a ModuleNotFoundError is raised".
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        gc.freeze()
        if collecting:
            gc.enable()
