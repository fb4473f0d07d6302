"""Did-you-mean: the few known names nearest to what the user wrote.

Distance: optimal string alignment (Damerau-Levenshtein without substrings edited twice), bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

FAR = 1_000_000
"""What `distance` answers when two words are further apart than asked for."""


def distance(a: str, b: str, limit: int = FAR) -> int:
    """Edits (insert, delete, replace, swap neighbours) from `a` to `b`; `FAR` when more than `limit`."""
    if abs(len(a) - len(b)) > limit:
        return FAR
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        best = i
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
            best = min(best, cost)
        if best > limit:
            return FAR
    return row[-1] if row[-1] <= limit else FAR


def _folded(word: str) -> str:
    return word.lower().replace("_", "-").strip()


def _score(word: str, name: str) -> float:
    """How far `name` is from `word`, smaller is nearer; `FAR` when it is no candidate. Both are folded."""
    if word == name:
        return 0.0
    limit = 1 if len(word) < 4 else min(4, len(word) // 3)
    score: float = distance(word, name, limit)
    tail = name.rpartition("/")[2]
    word_tail = word.rpartition("/")[2]
    if score == FAR and tail == word_tail and len(tail) > 1:
        score = 2.5  # right name, other namespace: `image/clip` for `vision/clip`
    if score == FAR and "/" in name and "/" not in word:
        score = 1.0 + distance(word, tail, limit)  # the namespace was forgotten
    if score >= FAR and len(word) > 2 and (name.startswith(word) or (len(name) > 2 and word.startswith(name))):
        score = 3.0 + abs(len(word) - len(name)) / 100
    return score if score < FAR else FAR


def suggest(word: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of `names`, nearest first, that `word` may have been meant to be; often none.

    Case, `_` for `-`, swapped letters, a forgotten or misspelt namespace and cut-off words are forgiven.
    """
    folded = _folded(word[:80])
    if not folded:
        return []
    scored = sorted((_score(folded, _folded(name)), name) for name in set(names) if isinstance(name, str))
    near = [(score, name) for score, name in scored if score < FAR]
    if near and near[0][0] <= 1.0:  # a very near name makes the far ones noise
        near = [(score, name) for score, name in near if score <= 2.0]
    return [name for _, name in near[:count]]


def did_you_mean(word: str, names: Iterable[str]) -> str | None:
    """A ready-made help line such as "did you mean `vision/clip`?", or None."""
    found = [f"`{name}`" for name in suggest(word, names)]
    if not found:
        return None
    return f"did you mean {found[0] if len(found) == 1 else ', '.join(found[:-1]) + ' or ' + found[-1]}?"
