"""Import large packages quickly."""

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def fast_imports(without: Sequence[str] = ()) -> Iterator[None]:
    """Disable garbage collection for imports in the block, and exempt the imported modules from it.

    Modules are never garbage, yet every collection traverses all their objects: many times during
    the import, at each `clear_session` of Keras, and at exit.

    Args:
        without: packages that cannot be imported in the block unless they already are, so that
            optional dependencies are skipped.
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
