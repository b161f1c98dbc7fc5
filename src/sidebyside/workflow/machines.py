"""Remember the machines on which a piece of work was done: on a cluster, not only this one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json

Facts = Mapping[str, str]  # as `machine_facts` returns them


class Machines:
    """The machines of a piece of work, including those of killed processes."""

    def __init__(self, file: Path, here: Facts) -> None:
        """Start with the machines that earlier processes saved.

        Args:
            file: where they are saved, in the folder that the work resumes from.
            here: this machine.

        Raises:
            UserError: the file is damaged.
        """
        self._file, self._here = file, here
        self._known: list[Facts] = read_json(file) if file.exists() else []
        if not isinstance(self._known, list):
            raise UserError(f"{file} is damaged: delete it")

    def add(self, facts: Facts) -> None:
        """Save a machine before it does some of the work."""
        if facts not in self._known:
            self._known.append(facts)
            write_json(self._file, self._known)

    @property
    def facts(self) -> dict[str, str]:
        """The facts of all machines; the same as those of this one if no other did any work."""
        return combined(self._known or [self._here])


def combined(machines: Sequence[Facts]) -> dict[str, str]:
    """Return name → the values of several machines, separated by commas."""
    names = dict.fromkeys(name for facts in machines for name in facts)
    return {
        name: ", ".join(sorted({facts.get(name, "none") for facts in machines})) for name in names
    }
