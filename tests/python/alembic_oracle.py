"""Alembic's answers about random revision graphs, as JSON Lines on standard output.

Owns the generator of graphs, database states and targets for `tests/tests/alembic_differential.rs`, and asks
Alembic's own `RevisionMap`, `RevisionStep` and `HeadMaintainer` what each target does. No files, no database.
A line is one graph; a graph with `"wrong"` is invalid on purpose. Run it with PYTHONHASHSEED=0: Alembic
iterates over sets of strings.
"""

import argparse
import json
import random
import sys
import warnings

from alembic.runtime.migration import HeadMaintainer, RevisionStep
from alembic.script import revision as alembic

WRONG = ["missing parent", "missing dependency", "self loop", "cycle", "dependency cycle", "label taken"]
TEMPLATES = """
    head heads heads base +N +N -N -N R R R+N R-N L L@head L@heads L@base L@+N L@-N L@R L@R+N L@R-N R@head R@heads
    head heads heads base +N +N -N -N R R R+N R-N L L@head L@heads L@base L@+N L@-N L@R L@R+N L@R-N R@+N R@-N
    head heads heads base +N +N -N -N R R R+N R-N L L@head L@heads L@base L@+N L@-N L@R L@R+N L@R-N R@R R@base
    head+N head-N heads-N base+N base-N L@head-N L@base+N L@base-N head@heads base@head base@heads head@+N base@+N
    base@-N head@R base@R @head @R @+N L@ L@L L@L@+N L@L@-N L@R@R L@L@R nope nope@head nope@heads nope@base nope@+N
    nope@-N nope@R R@nope + - @ L@+ R+x +99999999999999999999 R-99999999999999999999 +Nx R+N- R-N-N
""".split() + ["", " ", "R ", "R+N ", " -N", "@-N", "L@ -N", "+١", "R-١"]


class Script(alembic.Revision):
    """A revision with something to call, which a step insists on, and a hash that doesn't vary from run to run."""

    class module:
        upgrade = downgrade = None

    def __hash__(self):
        return hash(self.revision)


class Anything:
    """A migration context that accepts every statement."""

    def __getattr__(self, _):
        return self

    def __call__(self, *_, **__):
        return self

    def __eq__(self, _):
        return self


def distinct(rng, taken, make):
    while (name := make(rng)) in taken or name in ("head", "heads", "base", "current"):
        pass
    taken.add(name)
    return name


def an_id(rng):
    start = rng.choice(["", "", "a", "ab", "abc", "abcd", "abcde", "abcd_", "äb", "1", "12", "head", "base"])
    return start + "".join(rng.choices("abcd01", k=rng.choice([1, 2, 3, 4, 6, 8, 12])))


def a_label(rng):
    return rng.choice(["abcd", "abc", "ab", "label", "lab", "äb", "base", "x"]) + "".join(rng.choices("xyz", k=rng.randint(1, 4)))


def a_graph(rng):
    """Revisions as dictionaries, in a random order of insertion, parents created before children."""
    bases, forks, merges, depends = (rng.choice(options) for options in ([0, 0.1, 0.4], [0, 0.3, 0.8], [0, 0.2, 0.5], [0, 0.2, 0.6]))
    taken, revisions, tips = set(), [], []
    for _ in range(rng.randint(0, 14) or rng.randint(0, 1)):
        ids = [revision["id"] for revision in revisions]
        parents = []
        if ids and rng.random() >= bases:
            count = 1 + (rng.random() < merges) + (rng.random() < merges / 3)
            pool = ids if rng.random() < forks else tips
            parents = rng.sample(pool, min(count, len(pool)))
        names = ids + [label for revision in revisions for label in revision["labels"]]
        needed = rng.sample(names, min(rng.randint(1, 2), len(names))) if rng.random() < depends else []
        labels = [distinct(rng, taken, a_label) for _ in range(rng.choice([0, 0, 0, 1, 1, 2]))]
        one = {"id": distinct(rng, taken, an_id), "parents": parents, "depends_on": needed, "labels": labels}
        tips = [tip for tip in tips if tip not in parents] + [one["id"]]
        revisions.append(one)
    rng.choice([list, rng.shuffle, list.reverse])(revisions)
    return revisions


def spoil(rng, revisions):
    """Makes a valid graph invalid and says how."""
    wrong, one = rng.choice(WRONG), rng.choice(revisions)
    if wrong.startswith("missing"):
        one["parents" if wrong == "missing parent" else "depends_on"].append("absent")
    elif wrong == "self loop":
        key = rng.choice(["parents", "depends_on"])
        one[key].append(rng.choice([one["id"]] + one["labels"] * (key == "depends_on")))
    elif wrong == "label taken":
        other = rng.choice(revisions)
        one["labels"].append(rng.choice(other["labels"] + [other["id"]]))
    else:
        after, grown = {one["id"]}, None
        while grown != after:
            grown = set(after)
            after |= {r["id"] for r in revisions if after & set(r["parents"])}
        if after == {one["id"]}:
            return None
        one["parents" if wrong == "cycle" else "depends_on"].append(rng.choice(sorted(after - {one["id"]})))
    return wrong


def build(revisions):
    scripts = [Script(r["id"], tuple(r["parents"]), tuple(r["depends_on"]), tuple(r["labels"])) for r in revisions]
    map_ = alembic.RevisionMap(lambda: scripts)
    map_.heads  # noqa: B018 - loads the map
    return map_


def loose(target):
    """Whether Alembic makes something of `target` only because it reads numbers generously: `+1x`, `@-1`, ` -1`."""
    if alembic._relative_destination.match(target):
        whole = alembic._relative_destination.fullmatch(target)
        return not (whole and whole[3].isascii())
    try:
        return int(target.partition("@")[2] if "@" in target else target) < 0
    except ValueError:
        return False


def answer(map_, heads, target, direction):
    """What Alembic does: the steps with the heads after each, or why not."""
    up, warned = direction == "upgrade", []
    warnings.showwarning = lambda message, *_, **__: warned.append(str(message))
    out = {"target": target, "direction": direction}
    if loose(target):
        out["loose"] = True
    try:
        if up:
            steps = list(reversed(list(map_.iterate_revisions(target, tuple(heads), implicit_base=True))))
        else:
            steps = list(map_.iterate_revisions(tuple(heads), target, select_for_downgrade=True))
        out["steps"] = [step.revision for step in steps]
    except Exception as error:  # any exception is a refusal
        out["refused"] = f"{type(error).__name__}: {error}"
    if any("multiple heads is ambiguous" in message for message in warned):
        out["ambiguous"] = True
    if "steps" in out:
        keeper, out["heads"] = HeadMaintainer(Anything(), heads), []
        try:
            for step in steps:
                keeper.update_to_step(RevisionStep(map_, step, up))
                out["heads"].append(sorted(keeper.heads))
        except Exception as error:  # Alembic's own bookkeeping failed under steps that it chose itself
            out["crashed"] = f"{type(error).__name__}: {error}"
    return out


def minimal(map_, heads):
    """Whether no head is an ancestor of another, as a table of heads must be."""
    above = map_.get_revisions(tuple(heads))
    return all(not {r.revision for r in map_._get_ancestor_nodes([one])} & set(heads) - {one.revision} for one in above)


def some_states(rng, map_, ids):
    """Sets of heads that Alembic reaches from the empty database, interrupted anywhere."""
    states, heads = [[]], []
    for _ in range(rng.randint(1, 5)):
        if not ids:
            break
        up = not heads or rng.random() < 0.65
        moved = answer(map_, heads, rng.choice(ids + ["heads"] * up + ["base"] * (not up)), "upgrade" if up else "downgrade")
        if moved.get("heads"):
            after = rng.choice(moved["heads"] + [moved["heads"][-1]])
            if minimal(map_, after):
                heads = rng.sample(after, len(after))
                states.append(heads)
    unique = list({tuple(sorted(state)): state for state in states}.values())
    if len(unique) > 1 and rng.random() < 0.6:
        unique.remove([])
    return rng.sample(unique, min(3, len(unique)))


def a_target(rng, ids, labels):
    def some(names):
        name = rng.choice(names)
        return name if rng.random() < 0.6 else name[: rng.randint(1, len(name))]

    out = ""
    for character in rng.choice(TEMPLATES):
        if character == "N":
            out += str(rng.choice([0, 1, 1, 1, 2, 2, 3, 5]))
        elif character == "R":
            out += some(ids or ["abcd"])
        elif character == "L":
            out += some(labels or ids or ["abcd"]) if rng.random() < 0.8 else some(ids or ["abcd"])
        else:
            out += character
    return out


def a_case(rng):
    revisions = a_graph(rng)
    wrong = spoil(rng, revisions) if revisions and rng.random() < 0.08 else None
    case = {"revisions": revisions, "wrong": wrong, "error": None, "states": []}
    try:
        map_ = build(revisions)
    except Exception as error:  # any exception is a refusal
        case["error"] = f"{type(error).__name__}: {error}"
        return case
    if wrong:
        return case
    ids = [revision["id"] for revision in revisions]
    labels = [label for revision in revisions for label in revision["labels"]]
    for heads in some_states(rng, map_, ids):
        targets = {a_target(rng, ids, labels) for _ in range(16)}
        answers = [answer(map_, heads, target, way) for target in sorted(targets) for way in ("upgrade", "downgrade")]
        case["states"].append({"heads": heads, "answers": answers})
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--graphs", type=int, default=2000)
    arguments = parser.parse_args()
    warnings.simplefilter("always")
    warnings.showwarning = lambda *_, **__: None
    rng = random.Random(arguments.seed)
    for _ in range(arguments.graphs):
        json.dump(a_case(rng), sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
