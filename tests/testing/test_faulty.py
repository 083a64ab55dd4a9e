"""The checks catch what they should: each faulty implementation, by the name of the law that it breaks.

Whatever the seed: ``nox -s laws`` tries three.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.testing.budget import TIMES
from tests.testing.faulty import bridges, interceptors, later_interceptors, stores, submitters
from tests.testing.faulty.reference import ReferenceGateway
from trio_oplog.testing import Law, LawBroken, check_bridge, check_interceptor, check_store, check_submitter
from trio_oplog.testing._check_interceptor import DEFAULT_EXAMPLES, _sessions_hold, _shared_sessions_hold, search

pytestmark = pytest.mark.once

SEEDS = (1, 20, 300) if TIMES > 1 else (1,)


def caught(check: Any, implementation: Any, laws: set[Law], seed: int) -> None:
    with pytest.raises(LawBroken) as broken:
        check(implementation, seed=seed)
    assert broken.value.law in laws
    assert broken.value.law.value in str(broken.value)


def named(rows: list[tuple[type[Any], set[Law]]]) -> Any:
    return pytest.mark.parametrize(("kind", "laws"), rows, ids=[kind.__name__ for kind, _ in rows])


@named(interceptors.FAULTY + later_interceptors.FAULTY)
def test_a_faulty_interceptor_is_caught_by_name(kind: Any, laws: set[Law]) -> None:
    for seed in SEEDS:
        caught(partial(check_interceptor, gateway=partial(ReferenceGateway, kind=kind)), kind, laws, seed)


@pytest.mark.skipif(TIMES == 1, reason="each is searched to the end of its budget or its first mistake: nox -s laws")
def test_most_faulty_interceptors_are_caught_by_random_sessions_alone() -> None:
    def is_caught(kind: Any) -> bool:
        try:
            search(_sessions_hold(kind), max_examples=DEFAULT_EXAMPLES, seed=SEEDS[0], shrinks=False)
            shared = _shared_sessions_hold(partial(ReferenceGateway, kind=kind))
            search(shared, max_examples=DEFAULT_EXAMPLES // 2, seed=SEEDS[0], shrinks=False)
        except LawBroken:
            return True
        return False

    # One session shows nothing of memory and of calls that take an hour; and some mistakes are about one word in a hundred.
    everyone = interceptors.FAULTY + later_interceptors.FAULTY
    uncaught = [kind.__name__ for kind, _ in everyone if not is_caught(kind)]
    assert len(uncaught) < 0.15 * len(everyone), uncaught


@named(submitters.FAULTY)
def test_a_faulty_submitter_is_caught_by_name(kind: Any, laws: set[Law]) -> None:
    for seed in SEEDS:
        caught(check_submitter, kind, laws, seed)


@named(bridges.FAULTY)
def test_a_faulty_bridge_is_caught_by_name(kind: Any, laws: set[Law]) -> None:
    for seed in SEEDS:
        caught(check_bridge, kind.open, laws, seed)


@named(stores.FAULTY)
def test_a_faulty_store_is_caught_by_name(kind: Any, laws: set[Law]) -> None:
    for seed in SEEDS:
        caught(check_store, kind.open, laws, seed)


def test_there_is_a_faulty_one_for_at_least_thirty_mistakes() -> None:
    assert len(later_interceptors.FAULTY) >= 20
    assert len(interceptors.FAULTY + submitters.FAULTY + bridges.FAULTY + stores.FAULTY) >= 30
    broken = {
        law for rows in (interceptors, later_interceptors, submitters, bridges, stores) for _, laws in rows.FAULTY for law in laws
    }
    # Nothing of ours can break the law of the workspace without breaking every other one.
    assert set(Law) - broken <= {Law.WORKSPACE, Law.HOSTILE_FRAMES}
