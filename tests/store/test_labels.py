"""Stored completions are found by what they are labelled with, on every store."""

import httpx
import pytest

from tests.api.test_auth import keys
from tests.conftest import STORES, serving

CONFIG = """
[store]
url = "{url}"
[models."test/hello"]
[[models."test/hello".versions]]
number = 1
engine = "scripted"
[models."test/other"]
[[models."test/other".versions]]
number = 1
engine = "scripted"
"""
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module", params=STORES)
def shelf(request, tmp_path_factory):
    url = "sqlite:///antiphon.db" if request.param == "sqlite" else request.getfixturevalue("postgres")()
    with serving(tmp_path_factory.mktemp("shelf"), CONFIG.format(url=url)) as server:
        yield server


def store(server, model="test/hello", **metadata):
    return server.chat(model, store=True, metadata=metadata).json()["id"]


def found(server, query, **headers):
    return [item["id"] for item in server.get(f"{PATH}?{query}", **headers).json()["data"]]


def test_model_and_pairs_together_find_what_has_all_of_them_in_both_directions(shelf):
    both = [store(shelf, "test/other", color="red", size=str(n % 2)) for n in range(6)]
    store(shelf, "test/other", color="blue", size="1")
    store(shelf, color="red", size="1")
    plain = store(shelf, "test/other")
    assert found(shelf, "model=test/other")[-1] == plain
    assert plain not in found(shelf, "model=test/hello")
    query = "model=test/other&metadata[color]=red&metadata[size]=1"
    assert found(shelf, query) == both[1::2]
    assert found(shelf, f"{query}&after={both[1]}") == both[3::2]
    assert found(shelf, f"{query}&order=desc&after={both[5]}") == [both[3], both[1]]
    assert found(shelf, f"{query}&limit=2") == both[1:4:2]


def test_other_metadata_keeps_the_model_and_deleting_takes_every_label(shelf):
    kept = store(shelf, shape="round")
    shelf.post('{"metadata": {"shape": "flat"}}', path=f"{PATH}/{kept}")
    assert found(shelf, "metadata[shape]=round") == []
    assert found(shelf, "model=test/hello&metadata[shape]=flat") == [kept]
    shelf.post('{"metadata": {}}', path=f"{PATH}/{kept}")
    assert found(shelf, "metadata[shape]=flat") == []
    assert found(shelf, "model=test/hello")[-1] == kept
    httpx.delete(f"{shelf.url}{PATH}/{kept}", headers=shelf.headers)
    assert kept not in found(shelf, "model=test/hello")


def test_who_tries_to_delete_what_is_anothers_changes_nothing_of_it(tmp_path):
    with serving(tmp_path, CONFIG.format(url="sqlite:///antiphon.db")) as server:
        kept = store(server, color="red")
        stranger = keys(tmp_path, "create", "--account", "stranger").splitlines()[-1]
        headers = {"authorization": f"Bearer {stranger}"}
        assert httpx.delete(f"{server.url}{PATH}/{kept}", headers=headers).status_code == 404
        assert found(server, "metadata[color]=red") == [kept]
