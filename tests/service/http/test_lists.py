"""Lists over HTTP: three spellings, three windows, and what is said about what is left out."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from domain.query import QueryLimits, Resource
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from tests.sample import Item, Items, serving, settings

ITEMS = "/api/v1/items"
COLORS = ("red", "green", "blue")


def resource(**limits: Any) -> Resource[Item]:
    return Resource(
        Item,
        "items",
        filterable=[name for name in Item.__struct_fields__ if name != "meta"],
        limits=QueryLimits(**limits),
    )


@pytest.fixture(scope="module")
async def client(module_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Twelve items: sizes 0 to 11, colours in turn, every third one without a note."""
    builder = ServiceBuilder(info=ServiceInfo(id="sample", display_name="Sample")).with_database(module_database_url)
    app = builder.with_crud(resource(list_length=10, count_ceiling=5), table=Items).build(settings())
    async with serving(app) as client:
        for number in range(12):
            body = {
                "name": f"item {number:02}",
                "size": number,
                "color": COLORS[number % 3],
                "note": None if number % 3 == 0 else f"Note {number}",
                "labels": ["even"] if number % 2 == 0 else [],
                "seen_at": f"2025-01-{number + 1:02}T00:00:00Z",
            }
            assert (await client.post(ITEMS, json=body)).status_code == 201
        yield client


async def sizes(client: httpx.AsyncClient, **parameters: str) -> list[int]:
    reply = await client.get(ITEMS, params=parameters)
    assert reply.status_code == 200, reply.text
    return [item["size"] for item in reply.json()]


async def test_three_spellings_mean_the_same(client: httpx.AsyncClient) -> None:
    wanted = [1, 4, 7]
    assert await sizes(client, color="green", **{"size[lt]": "10"}) == wanted
    assert await sizes(client, filter=json.dumps({"color": "green", "size": {"lt": 10}})) == wanted
    assert await sizes(client, filter='{"color": "green"}', **{"size[lt]": "10"}) == wanted


@pytest.mark.parametrize(
    "filter, wanted",
    [
        ({"size": {"gte": 8}}, [8, 9, 10, 11]),
        ({"size": {"between": [2, 4]}}, [2, 3, 4]),
        ({"color": {"in": ["red", "blue"]}, "size": {"lt": 3}}, [0, 2]),
        ({"color": {"nin": ["red", "blue"]}, "size": {"lt": 3}}, [1]),
        ({"note": None}, [0, 3, 6, 9]),
        ({"note": {"null": False}, "size": {"gt": 9}}, [10, 11]),
        ({"note": {"ne": "Note 1"}, "size": {"lt": 3}}, [0, 2]),
        ({"note": {"icontains": "NOTE 1"}}, [1, 10, 11]),
        ({"note": {"contains": "NOTE"}}, []),
        ({"name": {"ends": "07"}}, [7]),
        ({"labels": {"has": "even"}, "size": {"lt": 5}}, [0, 2, 4]),
        ({"or": [{"size": 1}, {"size": 3}]}, [1, 3]),
        ({"not": {"note": {"starts": "Note"}}}, [0, 3, 6, 9]),
        ({"and": [{"size": {"gt": 3}}, {"not": {"size": {"gt": 5}}}]}, [4, 5]),
        ({"seen_at": {"gte": "2025-01-11"}}, [10, 11]),
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
async def test_filters_choose(client: httpx.AsyncClient, filter: dict[str, Any], wanted: list[int]) -> None:
    assert await sizes(client, filter=json.dumps(filter)) == wanted
    reply = await client.post(f"{ITEMS}/$query", json={"filter": filter})
    assert [item["size"] for item in reply.json()] == wanted


async def test_a_plus_in_a_url_is_ascending_although_it_arrives_as_a_space(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"{ITEMS}?sort=-color,+size&fields=size")
    assert reply.json()[0] == {"size": 0}
    assert reply.json()[-1] == {"size": 5} or len(reply.json()) == 10


@pytest.mark.parametrize("sort", ["note", "-note"])
async def test_nulls_come_last_in_both_directions(client: httpx.AsyncClient, sort: str) -> None:
    reply = await client.get(ITEMS, params={"sort": sort, "limit": "50", "fields": "note"})
    notes = [item["note"] for item in reply.json()["items"]]
    assert notes[-4:] == [None] * 4
    present = notes[:-4]
    assert present == sorted(present, reverse=sort.startswith("-"))


async def test_a_page_has_the_shape_that_clients_know(client: httpx.AsyncClient) -> None:
    reply = await client.get(ITEMS, params={"page": "2", "size": "5", "sort": "-size"})
    body = reply.json()
    assert list(body) == ["items", "total", "page", "size", "pages"]
    assert [item["size"] for item in body["items"]] == [6, 5, 4, 3, 2]
    assert (body["total"], body["page"], body["size"], body["pages"]) == (12, 2, 5, 3)
    past = (await client.get(ITEMS, params={"page": "9", "size": "5"})).json()
    assert (past["items"], past["total"]) == ([], 12)
    empty = (await client.get(ITEMS, params={"page": "1", "size": "5", "color": "red", "size[gt]": "99"})).json()
    assert (empty["total"], empty["pages"]) == (0, 0)


@pytest.mark.parametrize(
    "wrong", [{"page": "0", "size": "5"}, {"page": "1", "size": "101"}, {"page": "x", "size": "5"}]
)
async def test_a_page_out_of_range_is_unprocessable(client: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    reply = await client.get(ITEMS, params=wrong)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["loc"][0] == "query"


async def test_page_or_size_alone_is_the_bare_list(client: httpx.AsyncClient) -> None:
    for parameters in ({"page": "1"}, {"size": "5"}):
        assert isinstance((await client.get(ITEMS, params=parameters)).json(), list)


async def test_totals_are_counted_as_asked(client: httpx.AsyncClient) -> None:
    page = {"page": "1", "size": "5"}
    none = (await client.get(ITEMS, params={**page, "count": "none"})).json()
    assert (none["total"], none["pages"]) == (None, None)
    capped = (await client.get(ITEMS, params={**page, "count": "capped"})).json()
    assert (capped["total"], capped["total_is"]) == (5, "at_least")
    exact = (await client.get(ITEMS, params={"limit": "2", "count": "exact"})).json()
    assert (exact["total"], exact["total_is"]) == (12, "exact")
    bare = await client.get(ITEMS, params={"count": "exact", "color": "red"})
    assert (bare.headers["x-total-count"], bare.headers["x-total-is"]) == ("4", "exact")


async def test_a_cut_list_says_so_and_links_to_the_rest(client: httpx.AsyncClient) -> None:
    reply = await client.get(ITEMS, params={"sort": "-size", "fields": "size"})
    assert len(reply.json()) == 10
    assert reply.headers["x-truncated"] == "true"
    link = reply.headers["link"]
    assert link.endswith('; rel="next"')
    rest = (await client.get(link[1 : link.index(">")])).json()
    assert rest == {"items": [{"size": 1}, {"size": 0}], "next_cursor": None}


async def test_a_list_that_just_fits_says_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.get(ITEMS, params={"size[lt]": "10"})
    assert len(reply.json()) == 10
    assert "x-truncated" not in reply.headers
    assert "link" not in reply.headers


async def test_a_cursor_walks_to_the_end(client: httpx.AsyncClient) -> None:
    parameters = {"sort": "color,-note", "limit": "5", "fields": "size", "search": "item"}
    seen: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = await client.get(ITEMS, params={**parameters, **({"cursor": cursor} if cursor else {})})
        assert reply.status_code == 200, reply.text
        seen += [item["size"] for item in reply.json()["items"]]
        cursor = reply.json()["next_cursor"]
    assert len(seen) == 12
    assert sorted(seen) == list(range(12))


async def test_a_cursor_works_for_the_query_in_a_body_too(client: httpx.AsyncClient) -> None:
    query = {"filter": {"color": "red"}, "sort": ["-size"], "fields": ["size"], "limit": 3}
    first = (await client.post(f"{ITEMS}/$query", json=query)).json()
    assert first["items"] == [{"size": 9}, {"size": 6}, {"size": 3}]
    second = (await client.post(f"{ITEMS}/$query", json={**query, "cursor": first["next_cursor"]})).json()
    assert second == {"items": [{"size": 0}], "next_cursor": None}


async def test_a_cursor_of_another_query_is_an_error(client: httpx.AsyncClient) -> None:
    cursor = (await client.get(ITEMS, params={"limit": "2"})).json()["next_cursor"]
    for other in ({"sort": "-size"}, {"color": "red"}, {"search": "item"}):
        reply = await client.get(ITEMS, params={"limit": "2", "cursor": cursor, **other})
        assert reply.status_code == 400
        assert reply.json()["errors"][0]["type"] == "cursor_mismatch"
    tampered = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    reply = await client.get(ITEMS, params={"limit": "2", "cursor": tampered})
    assert reply.json()["errors"][0]["type"] == "cursor_invalid"


@pytest.mark.parametrize(
    "query, word",
    [
        ("bogus=1", "bogus"),
        ("nmae=x", '"name"'),
        ("meta[null]=true", "meta"),
        ("size[like]=1", "like"),
        ("size[contains]=1", "contains"),
        ("big=abc", "whole number"),
        ("big=" + "9" * 40, "whole number"),
        ("big=1&big=2", "big[in]"),
        ("size[between]=1", "between"),
        ("size[in]=", "whole number"),
        ("is_new=perhaps", "true or false"),
        ("seen_at[gt]=yesterday", "date"),
        ("seen_at=0001-01-01T00:00:00%2B12:00", "years"),
        ("reference=xyz", "UUID"),
        ("ratio=nan", "finite"),
        ("ratio=1e999", "number"),
        ("price=NaN", "finite"),
        ("color=pink", "red, green, blue"),
        ("name=a%00b", "NUL"),
        ("name=" + "x" * 300, "256"),
        ("name=%ff", "UTF-8"),
        ("filter=%7B", "JSON"),
        ("filter=[]", "object"),
        ("filter=" + "[" * 5000, "64 levels"),
        ('filter={"size":' + "9" * 5000 + "}", "digits"),
        ('filter={"name":"%5Cud800"}', "surrogate"),
        ('filter={"a":1,"a":2}', "twice"),
        ('filter={"size":NaN}', "NaN"),
        ('filter={"size":{}}', "operator"),
        ('filter={"size":[1]}', "in"),
        ('filter={"or":[]}', "or"),
        ('filter={"size":{"gt":null}}', "null"),
        ('filter={"size":{"in":[]}}', "non-empty"),
        ('filter={"size":true}', "whole number"),
        ('filter={"size":1.5}', "whole number"),
        ("sort=labels", "labels"),
        ("sort=size,-size", "twice"),
        ("sort=--size", "--size"),
        ("fields=", "fields"),
        ("fields=id,secret", "secret"),
        ("search=%20", "words"),
        ("count=maybe", "none, exact, capped"),
        ("limit=0", "limit"),
        ("limit=501", "500"),
        ("limit=5&page=1", "not both"),
        ("cursor=xyz", "cursor"),
        ("page=1&size=2&cursor=x", "not both"),
        ("&".join(f"x{n}=1" for n in range(200)), "100 parameters"),
        ("name=" + "x" * 20_000, "bytes"),
    ],
)
async def test_a_wrong_query_is_a_bad_request_that_says_why(client: httpx.AsyncClient, query: str, word: str) -> None:
    reply = await client.get(f"{ITEMS}?{query}")
    assert reply.status_code == 400, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert word in reply.text.replace('\\"', '"')
    assert len(reply.content) < 6000


async def test_an_error_in_a_filter_names_the_character(client: httpx.AsyncClient) -> None:
    text = '{"size": {"gt": 3}, "or": [{"nmae": "x"}]}'
    error = (await client.get(ITEMS, params={"filter": text})).json()["errors"][0]
    assert error["position"] == text.index('"nmae"')
    assert error["loc"] == ["query", "filter", "or", 0, "nmae"]
    assert "name" in error["allowed"]
    assert "meta" not in error["allowed"]


@pytest.mark.parametrize(
    "body, pointer",
    [
        ({"filter": {"nope": 1}}, "/filter/nope"),
        ({"bogus": 1}, "/bogus"),
        ({"sort": 5}, "/sort"),
        ({"limit": "5"}, "/limit"),
        ({"page": 0, "size": 5}, "/page"),
        ({"filter": {"name": {"in": ["x"] * 5001}}}, "/filter/name/in"),
        ({"search": 5}, "/search"),
        ([], ""),
    ],
)
async def test_a_wrong_query_in_a_body_is_unprocessable(client: httpx.AsyncClient, body: Any, pointer: str) -> None:
    reply = await client.post(f"{ITEMS}/$query", json=body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer


async def test_a_long_query_goes_into_the_body(client: httpx.AsyncClient) -> None:
    names = [f"item {number:02}" for number in range(1000)]
    too_long = await client.get(ITEMS, params={"filter": json.dumps({"name": {"in": names[:999]}})})
    assert too_long.status_code == 400
    assert "$query" in too_long.text
    reply = await client.post(f"{ITEMS}/$query", json={"filter": {"name": {"in": names}}, "count": "exact"})
    assert reply.status_code == 200
    assert reply.headers["x-total-count"] == "12"


async def test_the_bound_of_the_bare_list_can_be_switched_off(database_url: str) -> None:
    builder = ServiceBuilder(info=ServiceInfo(id="sample", display_name="Sample")).with_database(database_url)
    app = builder.with_crud(resource(list_length=None), table=Items).build(settings())
    async with serving(app) as client:
        for number in range(3):
            await client.post(ITEMS, json={"name": f"item {number}"})
        reply = await client.get(ITEMS)
        assert len(reply.json()) == 3
        assert "x-truncated" not in reply.headers
