"""Run a pipeline script as a stage of dvc.yaml.

A stage does not use inputs that were changed or damaged after DVC recorded them.

DVC hashes a stage's code, parameters and inputs after the stage has ended. If they were changed
during the run, by an edit or by checking out another branch, DVC would record the new ones with the
results of the old ones. Therefore such a stage fails.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sidebyside.config.dataset_description import FOLDER
from sidebyside.core.errors import UserError
from sidebyside.core.fingerprint import machine_facts
from sidebyside.workflow import command, copies, edits, git, graph, integrity, provenance, resume


def run(main: Callable[[], None], script: str, arguments: list[str]) -> NoReturn:
    """Call `main` as a command that fails if the stage's dependencies change during the run.

    Args:
        main: the stage's work.
        script: path of the script, one folder below its dvc.yaml.
        arguments: the command line, without the script.
    """
    path = Path(script).resolve()
    item = os.environ.get("DVC_STAGE", path.stem).rpartition(":")[2]  # or ../dvc.yaml:train@…
    root, name = path.parents[1], item.partition("@")[0]

    def watched() -> None:
        git.check(root)
        if (root / FOLDER).is_dir():  # not in the pipeline of the replications
            copies.link_local_data(copies.original(root), root)
        provenance.loaded_source(root)
        integrity.require_inputs(root, name, arguments)
        for line in integrity.restorable_outputs(root, item):
            print(f"note: {line}", flush=True)
        # Right before `main`, which reads the parameters.
        code = [root / file for file in graph.code(root, name)]
        read = integrity.input_digests(root, name, arguments)
        before = graph.dependencies(root, name, arguments)
        watched_files = [root / graph.GRAPH, *code, *(root / file for file in read)]
        unfinished = root / resume.FOLDER / integrity.UNFINISHED / item
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        began = time.perf_counter()
        # A stage of a matrix keeps its state in `resume.resumable`, which has a lock for each item
        # and checks that the code was loaded in a single state.
        with (
            edits.watching(watched_files),
            contextlib.nullcontext() if arguments else resume.alone(root, name),
        ):
            main()
        after = graph.dependencies(root, name, arguments)
        changed = [name for name in before if before[name] != after.get(name)]
        # An input may be gone: `evaluate` deletes those of dropped models.
        present = integrity.input_digests(root, name, arguments)
        changed += [name for name in present if present[name] != read.get(name)]
        if not arguments:  # it loads code until its end
            changed += [os.path.relpath(file, root) for file in edits.changed_since_start(code)]
        if changed:
            raise UserError(
                f"{', '.join(sorted({*changed}))} changed while the stage ran, so its result is not"
                " recorded: run the same command again"
            )
        ensure_provenance(root, name, round(time.perf_counter() - began, 3))
        unfinished.unlink(missing_ok=True)

    helps = {"-h", "--help"} & {*arguments}
    command.run(main if helps else watched, output_is_log=True)


def ensure_provenance(root: Path, stage: str, seconds: float) -> None:
    """Write the provenance of a stage without a matrix, unless the stage has done so itself.

    Args:
        root: folder of dvc.yaml.
        stage: the stage's name.
        seconds: computing time.
    """
    names = graph.stage_outputs(root, stage)
    if not names or any("${" in name for name in names):
        return
    outputs = [root / name for name in names]
    if provenance.find(root, stage, outputs) is None:
        inputs = {
            "data": graph.data_digests(root, stage),
            "dependencies": graph.dependencies(root, stage, []),
        }
        key = resume.work_key(root, stage, inputs)
        provenance.write(root, stage, key, machine_facts(), outputs, seconds)
