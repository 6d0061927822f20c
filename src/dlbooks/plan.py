"""What a rebuild has to do, in which order: DVC's graph, the stages it calls stale, and how long each took last time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import getitem

from dlbooks import catalog, ledger, own, runtime

GUESS = {"fetch": 1.0, "preprocess": 1.0, "report": 8.0}  # seconds of a stage that has never run; a chapter: TRAINING
TRAINING = 12.0


@dataclass
class Plan:
    """Stages to run, those that others read first; ``needs`` within the plan, ``reads`` in the whole graph; expected seconds."""

    stages: list[str]
    needs: dict[str, list[str]]
    reads: dict[str, list[str]]
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def read_by(self) -> dict[str, list[str]]:
        """The other way round: the plan's stages that read a stage themselves."""
        found: dict[str, list[str]] = {name: [] for name in self.stages}
        for name, needed in self.needs.items():
            for other in needed:
                found[other].append(name)
        return found

    def urgency(self) -> dict[str, float]:
        """Seconds from a stage's start to the end of the longest chain that begins with it: what should start first."""
        longest: dict[str, float] = {}
        for name in reversed(self.stages):
            longest[name] = self.seconds.get(name, 1.0) + max((longest[r] for r in self.read_by[name]), default=0.0)
        return longest

    def bound(self, workers: int) -> float:
        """No schedule on so many workers is shorter, in seconds: the longest chain, or the work divided evenly."""
        return max(max(self.urgency().values(), default=0.0), sum(self.seconds.get(s, 1.0) for s in self.stages) / workers)

    def readers(self, name: str) -> set[str]:
        """All stages that cannot run without this one."""
        found = {name}
        for stage in self.stages:
            if found & set(self.needs[stage]):
                found.add(stage)
        return found - {name}


def plan(repo, targets: list[str], force: bool, seconds: dict[str, float] | None = None) -> Plan:
    """What DVC calls changed, and everything that reads it; all or what ``targets`` need."""
    import networkx

    graph = repo.index.graph  # an edge leads from a stage to one that it reads
    names = {stage.addressing: stage for stage in graph}
    wanted = set(graph)
    if targets:
        wanted = {s for t in targets for s in (names[t], *networkx.descendants(graph, names[t]))}
    if force and not targets:
        changed = set(graph)
    else:
        with parsed_once(), hashed_once():
            changed = {names[n] for n in repo.status(targets=targets or None, with_deps=bool(targets)) if n in names}
        changed |= {names[t] for t in targets if force}
    stale = set(changed)
    order = [s for s in networkx.dfs_postorder_nodes(graph) if s in wanted]
    for stage in order:
        if any(other in stale for other in graph.successors(stage)):
            stale.add(stage)
    listed = [s.addressing for s in order if s in stale]
    reads = {s.addressing: sorted(o.addressing for o in graph.successors(s)) for s in order}
    within = set(listed)
    return Plan(listed, {s: [n for n in reads[s] if n in within] for s in listed}, reads, seconds or {})


@contextlib.contextmanager
def parsed_once():
    """For every stage DVC parses ``params.yaml`` anew and walks all of it to look a key up, which is most of the time of a rebuild that finds nothing
    to do: here it is parsed once, and a key followed."""
    from dvc.dependency import param

    read, known = param.read_param_file, {}

    def followed(fs, path, key_paths=None, flatten=False, **options):
        if not key_paths or not flatten:
            return read(fs, path, key_paths, flatten, **options)
        if path not in known:
            known[path] = param.load_path(path, fs)
        found = {}
        for key in key_paths:
            with contextlib.suppress(KeyError, TypeError):  # DVC says what is missing
                found[key] = reduce(getitem, key.split("."), known[path])
        return found

    with runtime.instead(param, "read_param_file", followed):
        yield


@contextlib.contextmanager
def hashed_once():
    """What one stage writes others read, and all chapters share code: here DVC looks at a file or folder once, not for every stage that names it."""
    from dvc.output import Output

    look, known = Output._get_hash_meta, {}

    def once(output):
        if output.fs_path not in known:
            known[output.fs_path] = look(output)
        return known[output.fs_path]

    with runtime.instead(Output, "_get_hash_meta", once):
        yield


def expected(spent: dict[str, float]) -> dict[str, float]:
    """Seconds of every stage: those of its last run here, else the ledger's of this profile, else a guess."""
    profile, known = runtime.profile_of(runtime.root() / "params.yaml"), ledger.read()
    found = {}
    for name in catalog.datasets():
        for kind in ("fetch", "preprocess"):
            found[f"{kind}@{name}"] = spent.get(f"{kind} {name}", GUESS[kind])
    for name in [*catalog.chapters(), *own.stages()]:
        recorded = known.get(name, {}).get(profile, {}).get("newest", {}).get("seconds", {}).get("total", TRAINING)
        found[name] = spent.get(f"chapter {name}", recorded)
    return {**found, "report": spent.get("report", GUESS["report"])}
