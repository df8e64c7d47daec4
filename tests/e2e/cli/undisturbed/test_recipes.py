"""The recipes of examples/kv/ on real processes, many of them at the same moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ringmill.client.blocking import Client
from tests.e2e.cli.undisturbed.recipe_files import recipe

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


@pytest.fixture
def db(shell: Shell) -> Iterator[Client]:
    file = shell.folder / "home" / "default" / "cluster.json"
    with Client(json.loads(file.read_text())["nodes"][0]["address"], timeout=20) as client:
        yield client


def test_a_name_is_given_to_one_of_those_who_ask_at_once(db: Client) -> None:
    names = recipe("unique_names")
    users = [f"user {number}" for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        told = dict(zip(users, pool.map(lambda user: names.claim(db, "ada", user), users), strict=True))
    assert [user for user, has_it in told.items() if has_it] == [names.owner(db, "ada")]
    winner = names.owner(db, "ada")
    assert names.claim(db, "ada", winner)
    assert not names.give_back(db, "ada", "nobody")
    assert names.give_back(db, "ada", winner)
    assert names.owner(db, "ada") is None
    assert names.claim(db, "ada", "the next one")


def test_workers_take_turns_and_one_that_comes_late_is_refused(db: Client) -> None:
    lock = recipe("lock_with_fencing")
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(lock.work_once, db, "report", f"worker {each}", str(each)) for each in range(4)]
        terms = [each.result(60) for each in work]
    assert sorted(terms) == [1, 2, 3, 4]
    assert lock.read(db, "report") == str(terms.index(4))
    with pytest.raises(lock.Outdated, match="term 3 comes after term 4"):
        lock.write(db, "report", 3, "late")
    assert lock.read(db, "report") == str(terms.index(4))


def test_a_limit_is_kept_by_all_together(db: Client) -> None:
    limiter = recipe("rate_limiter")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: limiter.allow(db, "ada", 25, now=600.0), range(60)))
    assert sum(told) == 25
    assert limiter.allow(db, "ada", 25, now=660.0), "the next window"


def test_a_cart_keeps_what_two_devices_added_at_once(db: Client) -> None:
    cart = recipe("shopping_cart")
    assert cart.look(db, "ada") == {}
    assert cart.change(db, "ada", "tea", 2) == {"tea": 2}
    seen = db.get("cart:ada")
    db.put("cart:ada", b'{"bread": 1, "tea": 2}', context=seen.context)
    db.put("cart:ada", b'{"milk": 3, "tea": 1}', context=seen.context)
    assert db.get("cart:ada").conflict
    assert cart.look(db, "ada") == {"bread": 1, "milk": 3, "tea": 2}
    assert cart.change(db, "ada", "tea", -2) == {"bread": 1, "milk": 3}
    assert not db.get("cart:ada").conflict


def test_a_session_lasts_while_its_user_comes_back(db: Client) -> None:
    store = recipe("session_store")
    token = store.begin(db, {"user": "ada"})
    ends = db.get(f"session:{token}").expires_at
    for _ in range(3):
        time.sleep(0.02)
        assert store.visit(db, token) == {"user": "ada"}
        before, ends = ends, db.get(f"session:{token}").expires_at
        assert before is not None
        assert ends is not None
        assert ends > before
    short = store.begin(db, {"user": "ada"}, timedelta(milliseconds=200))
    deadline = time.monotonic() + 20
    while db.get(f"session:{short}", None) is not None:
        assert time.monotonic() < deadline, "it ends"
        time.sleep(0.1)
    assert store.visit(db, short) is None
    store.end(db, token)
    assert store.visit(db, token) is None


def test_the_best_scores_are_kept_in_order(db: Client) -> None:
    board = recipe("leaderboard")
    scores = {f"player {number}": number * 7 % 23 for number in range(23)}
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: board.submit(db, "chess", *each), scores.items()))
    assert board.top(db, "chess") == sorted(scores.items(), key=lambda each: -each[1])[:10]
    assert not board.submit(db, "chess", "player 0", 1)
    assert board.submit(db, "chess", "player 0", 99)
    assert board.top(db, "chess")[0] == ("player 0", 99)
