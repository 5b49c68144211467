"""Graphs over HTTP: submitted whole or not at all, seen, canceled, run again and removed."""

import asyncio
from typing import Any

import pytest

from domain.graphs import MOST_NODES
from tests.service.api.jobs_service import GRAPHS, JOBS, UNKNOWN, Stage, eventually, opened

OPERATIONS = [("GET", ""), ("DELETE", ""), ("POST", "/$cancel"), ("POST", "/$rerun")]


async def submit(stage: Stage, nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Submit a graph; its view."""
    view: dict[str, Any] = await stage.post(GRAPHS, {"nodes": nodes, **more})
    return view


async def reach(stage: Stage, id: str, status: str) -> dict[str, Any]:
    """The view of a graph once it has this status."""

    async def look() -> dict[str, Any] | None:
        view: dict[str, Any] = await stage.get(f"{GRAPHS}/{id}")
        return view if view["status"] == status else None

    found: dict[str, Any] = await eventually(look)
    return found


def states(view: dict[str, Any]) -> dict[str, str]:
    """The state of each node."""
    return {name: node["state"] for name, node in view["nodes"].items()}


async def counts(stage: Stage) -> tuple[int, ...]:
    """How many rows each table of graphs has."""
    found = []
    for table in ("jobs", "graphs", "job_edges", "job_events"):
        [(rows,)] = await stage.engine.fetch(f"SELECT count(*) FROM millrace_{table}")
        found.append(int(rows))
    return tuple(found)


async def test_a_graph_is_accepted_and_runs(stage: Stage) -> None:
    nodes = {
        "one": {"task": "add", "args": {"first": 1}},
        "two": {"task": "add", "args": {"first": 2}},
        "sum": {"task": "add", "args": {"first": {"$ref": "one"}, "second": {"$ref": "two"}}},
        "all": {"task": "echo", "args": {"value": {"sum": {"$ref": "sum"}, "list": [{"$ref": "one"}]}}},
    }
    reply = await stage.client.post(GRAPHS, json={"nodes": nodes, "label": "sums"})
    view = reply.json()
    assert (reply.status_code, reply.headers["location"]) == (202, f"{stage.url}{GRAPHS}/{view['id']}")
    assert (view["label"], view["tags"], list(view["nodes"])) == ("sums", [], list(nodes))
    assert view["nodes"]["all"]["depends_on"] == {"sum": "success", "one": "success"}
    ended = await reach(stage, view["id"], "completed")
    assert (ended["counts"], set(states(ended).values())) == ({"completed": 4}, {"completed"})
    result = f"{JOBS}/{ended['nodes']['all']['job_id']}/$result"
    assert await stage.get(result) == {"sum": 5, "list": [2]}
    assert ended["nodes"]["sum"]["started_at"] >= ended["nodes"]["two"]["finished_at"]
    job = await stage.job(ended["nodes"]["sum"]["job_id"])
    assert (job["graph_id"], job["node"], job["waits_for"]) == (view["id"], "sum", 0)
    assert await stage.get(GRAPHS, params={"label": "sums", "fields": "id,size"}) == [{"id": view["id"], "size": 4}]


async def test_nodes_run_as_what_they_depend_on_has_ended(stage: Stage) -> None:
    nodes = {
        "good": {"task": "nothing"},
        "bad": {"task": "fail"},
        "after_good": {"task": "nothing", "depends_on": ["good"]},
        "after_bad": {"task": "nothing", "depends_on": ["bad"]},
        "behind": {"task": "nothing", "depends_on": ["after_bad"]},
        "mend": {"task": "nothing", "depends_on": {"bad": "failure"}},
        "anyway": {"task": "nothing", "depends_on": {"good": "always", "bad": "always", "after_bad": "always"}},
        "never": {"task": "nothing", "depends_on": {"good": "failure"}},
    }
    view = await submit(stage, nodes)
    ended = await reach(stage, view["id"], "completed")
    assert states(ended) == {
        "good": "completed",
        "bad": "failed",
        "after_good": "completed",
        "after_bad": "skipped",
        "behind": "skipped",
        "mend": "completed",
        "anyway": "completed",
        "never": "skipped",
    }
    assert ended["counts"] == {"completed": 4, "failed": 1, "skipped": 3}
    assert ended["nodes"]["bad"]["error"] == "ValueError: no luck"
    # Nobody has mended this one.
    alone = await submit(stage, {"bad": {"task": "fail"}, "then": {"task": "nothing", "depends_on": ["bad"]}})
    await reach(stage, alone["id"], "failed")


async def test_many_branches_meet_again(stage: Stage) -> None:
    nodes: dict[str, Any] = {"start": {"task": "nothing"}}
    for number in range(50):
        nodes[f"n{number}"] = {"task": "add", "args": {"first": number}, "depends_on": ["start"]}
    nodes["end"] = {"task": "echo", "args": {"value": [{"$ref": f"n{number}"} for number in range(50)]}}
    view = await submit(stage, nodes)
    ended = await reach(stage, view["id"], "completed")
    assert await stage.get(f"{JOBS}/{ended['nodes']['end']['job_id']}/$result") == list(range(1, 51))


async def test_a_graph_is_pending_until_a_node_has_begun(stage: Stage) -> None:
    nodes = {"later": {"task": "nothing", "delay_seconds": 600}, "then": {"task": "nothing", "depends_on": ["later"]}}
    view = await submit(stage, nodes)
    assert (view["status"], view["counts"]) == ("pending", {"scheduled": 1, "blocked": 1})
    assert view["nodes"]["then"]["started_at"] is None
    await stage.delete(f"{GRAPHS}/{view['id']}")


async def test_nodes_say_how_they_are_to_be_run(stage: Stage) -> None:
    node = {"task": "linger", "label": "l", "queue": "q", "priority": 9, "timeout_seconds": 5, "tags": ["t"]}
    view = await submit(stage, {"a": {**node, "unique_key": "graph-u", "delay_seconds": 600}})
    job = await stage.job(view["nodes"]["a"]["job_id"])
    assert {name: job[name] for name in node if name != "task"} == {n: v for n, v in node.items() if n != "task"}
    assert (job["unique_key"], job["state"]) == ("graph-u", "scheduled")
    await stage.delete(f"{GRAPHS}/{view['id']}")


# All or nothing


WRONG: list[tuple[Any, list[str], str]] = [
    ({}, ["/nodes"], "required"),
    ({"nodes": {}}, ["/nodes"], "length >= 1"),
    ({"nodes": []}, ["/nodes"], "object"),
    ({"nodes": {"a": {}}}, ["/nodes/a/task"], "required"),
    ({"nodes": {"a": {"task": 5}, "b": {"tusk": "add"}}}, ["/nodes/a/task", "/nodes/b/task", "/nodes/b/tusk"], "str"),
    ({"nodes": {"a b": {"task": "nothing"}}}, ["/nodes/a b"], "a name"),
    ({"nodes": {"": {"task": "nothing"}}}, ["/nodes/"], "a name"),
    ({"nodes": {"a": {"task": "nothing"}}, "lable": "x"}, ["/lable"], "unknown field"),
    ({"nodes": {"a": {"task": "nothing"}}, "label": "l" * 201}, ["/label"], "length"),
    ({"nodes": {"a": {"task": "nothing"}}, "label": "nul\0"}, ["/label"], "NUL"),
    ({"nodes": {"a": {"task": "nothin"}}}, ["/nodes/a/task"], 'did you mean "nothing"?'),
    (
        {"nodes": {"a": {"task": "add", "args": {"first": "x", "second": -1}}, "b": {"task": "zzz"}}},
        ["/nodes/a/args/first", "/nodes/a/args/second", "/nodes/b/task"],
        "int",
    ),
    ({"nodes": {"a": {"task": "nothing", "depends_on": ["b"]}}}, ["/nodes/a/depends_on"], '"b", which is no node'),
    (
        {"nodes": {"abc": {"task": "nothing"}, "b": {"task": "nothing", "depends_on": ["abd"]}}},
        ["/nodes/b/depends_on"],
        'did you mean "abc"?',
    ),
    (
        {"nodes": {"a": {"task": "nothing", "depends_on": {"b": "sometimes"}}, "b": {"task": "nothing"}}},
        ["/nodes/a/depends_on/b"],
        "sometimes",
    ),
    ({"nodes": {"a": {"task": "nothing", "depends_on": "b"}}}, ["/nodes/a/depends_on"], "array"),
    ({"nodes": {"a": {"task": "nothing", "depends_on": ["a"]}}}, ["/nodes/a"], "a -> a"),
    (
        {
            "nodes": {
                "a": {"task": "nothing", "depends_on": ["c"]},
                "b": {"task": "nothing", "depends_on": ["a"]},
                "c": {"task": "echo", "args": {"value": {"$ref": "b"}}},
            }
        },
        ["/nodes/a"],
        "a circle: a -> b -> c -> a",
    ),
    (
        {
            "nodes": {
                "a": {"task": "nothing"},
                "b": {"task": "echo", "args": {"value": {"$ref": "a"}}, "depends_on": {"a": "failure"}},
            }
        },
        ["/nodes/b/args"],
        "does not depend on its success",
    ),
    ({"nodes": {"a": {"task": "echo", "args": {"value": {"$ref": "x"}}}}}, ["/nodes/a/depends_on"], '"x"'),
    ({"nodes": {"a": {"task": "nothing", "delay_seconds": -1}}}, ["/nodes/a/delay_seconds"], ">= 0"),
    ([], [""], "JSON object"),
]


async def test_a_wrong_graph_is_refused_with_every_wrong_field_and_nothing_is_written(stage: Stage) -> None:
    before = await counts(stage)
    for body, pointers, words in WRONG:
        problem = await stage.post(GRAPHS, body, status=422)
        assert sorted({error["pointer"] for error in problem["errors"]}) == pointers, body
        assert any(words in error["msg"] for error in problem["errors"]), body
    assert await counts(stage) == before


async def test_a_cycle_is_named_whatever_leads_to_it(stage: Stage) -> None:
    nodes = {f"n{number}": {"task": "nothing", "depends_on": [f"n{number - 1}"]} for number in range(1, 6)}
    nodes["n0"] = {"task": "nothing", "depends_on": ["n3"]}
    problem = await stage.post(GRAPHS, {"nodes": nodes}, status=422)
    [error] = problem["errors"]
    assert error["type"] == "cycle"
    assert set(error["input"].split(" -> ")) == {"n0", "n1", "n2", "n3"}


async def test_a_graph_with_a_taken_unique_key_is_not_half_there(stage: Stage) -> None:
    holder = await stage.submit("hold", {"name": "graph"}, unique_key="graph-taken")
    before = await counts(stage)
    nodes = {"a": {"task": "nothing"}, "b": {"task": "nothing", "depends_on": ["a"], "unique_key": "graph-taken"}}
    problem = await stage.post(GRAPHS, {"nodes": nodes}, status=409)
    assert problem["detail"] == 'An unfinished job with the unique key "graph-taken" of node "b" exists'
    assert (await counts(stage))[:3] == before[:3]
    await stage.delete(f"{JOBS}/{holder}")


async def test_of_graphs_with_the_same_unique_key_one_is_there(stage: Stage) -> None:
    nodes = {f"n{number}": {"task": "hold", "unique_key": "graph-race"} for number in range(1)}
    nodes["other"] = {"task": "hold"}
    replies = await asyncio.gather(*(stage.client.post(GRAPHS, json={"nodes": nodes}) for _ in range(6)))
    assert sorted(reply.status_code for reply in replies) == [202] + [409] * 5
    [made] = [reply.json()["id"] for reply in replies if reply.status_code == 202]
    assert len(await stage.get(JOBS, params={"graph_id": made})) == 2
    await stage.delete(f"{GRAPHS}/{made}")


async def test_too_many_nodes_and_dependencies_are_refused(stage: Stage) -> None:
    nodes: dict[str, Any] = {f"n{number}": {"task": "nothing"} for number in range(MOST_NODES + 1)}
    problem = await stage.post(GRAPHS, {"nodes": nodes}, status=422)
    assert problem["errors"][0]["pointer"] == "/nodes"
    parents = [f"n{number}" for number in range(400)]
    nodes = {
        name: {"task": "nothing", "depends_on": parents if number >= 400 else []}
        for number, name in enumerate(f"n{number}" for number in range(660))
    }
    problem = await stage.post(GRAPHS, {"nodes": nodes}, status=422)
    assert problem["errors"][0]["msg"] == "the nodes have more than 100000 dependencies"


async def test_thousands_of_mistakes_are_answered_soon(stage: Stage) -> None:
    nodes = {f"node-{number}": {"task": "nothin", "depends_on": [f"nude-{number}"]} for number in range(5_000)}
    problem = await stage.post(GRAPHS, {"nodes": nodes}, status=422)
    assert len(problem["errors"]) == 100
    nodes = {f"node-{number}": {"task": "nothin"} for number in range(5_000)}
    problem = await stage.post(GRAPHS, {"nodes": nodes}, status=422)
    assert len(problem["errors"]) == 100


@pytest.mark.parametrize(
    "content, kind, status",
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b'{"nodes": {"a": {"task": "echo", "args": {"value": "\\u0000"}}}}', "application/json", 422),
        (b'{"nodes":' + b'{"a":' * 200 + b"}" * 201, "application/json", 422),
        (b"nodes", "text/plain", 415),
    ],
)
async def test_rubbish_is_a_problem_and_nothing_is_written(
    stage: Stage, content: bytes, kind: str, status: int
) -> None:
    before = await counts(stage)
    reply = await stage.client.post(GRAPHS, content=content, headers={"content-type": kind})
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert await counts(stage) == before


# What else can be done


@pytest.mark.parametrize("method, verb", OPERATIONS)
async def test_a_graph_that_does_not_exist_is_not_found(stage: Stage, method: str, verb: str) -> None:
    for id, status, detail in (
        (UNKNOWN, 404, f"Graph with id {UNKNOWN} not found"),
        ("zzz", 400, "Invalid graph ID format: zzz"),
    ):
        reply = await stage.client.request(method, f"{GRAPHS}/{id}{verb}")
        assert (reply.status_code, reply.json()["detail"]) == (status, detail)
    reply = await stage.client.request(method, f"{GRAPHS}/{UNKNOWN}{verb}", params={"colour": "red"})
    assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (400, ["query", "colour"])


async def test_a_graph_is_canceled_as_a_whole(stage: Stage) -> None:
    nodes = {
        "done": {"task": "nothing"},
        "running": {"task": "hold", "depends_on": ["done"]},
        "later": {"task": "nothing", "delay_seconds": 600},
        "blocked": {"task": "nothing", "depends_on": ["running"]},
        "anyway": {"task": "nothing", "depends_on": {"running": "always"}},
    }
    view = await submit(stage, nodes)
    await stage.reach(view["nodes"]["running"]["job_id"], "running")
    canceled = await stage.post(f"{GRAPHS}/{view['id']}/$cancel")
    assert states(canceled) == {
        "done": "completed",
        "running": "canceling",
        "later": "canceled",
        "blocked": "canceled",
        "anyway": "canceled",
    }
    ended = await reach(stage, view["id"], "canceled")
    assert ended["counts"] == {"completed": 1, "canceled": 4}
    # There is nothing left to cancel, and that is no error.
    assert await stage.post(f"{GRAPHS}/{view['id']}/$cancel") == ended


async def test_a_graph_runs_again_from_where_it_failed(stage: Stage) -> None:
    nodes = {
        "first": {"task": "nothing"},
        "bad": {"task": "fail", "depends_on": ["first"]},
        "then": {"task": "nothing", "depends_on": ["bad"]},
        "mend": {"task": "nothing", "depends_on": {"bad": "failure"}},
    }
    view = await submit(stage, nodes)
    await reach(stage, view["id"], "completed")
    first = await stage.job(view["nodes"]["first"]["job_id"])
    again = await stage.post(f"{GRAPHS}/{view['id']}/$rerun")
    assert (again["status"], states(again)["then"], states(again)["mend"]) == ("running", "blocked", "blocked")
    assert await stage.job(first["id"]) == first
    ended = await reach(stage, view["id"], "completed")
    assert states(ended) == {"first": "completed", "bad": "failed", "then": "skipped", "mend": "completed"}


async def test_a_graph_runs_again_from_a_node(stage: Stage) -> None:
    nodes = {
        "first": {"task": "add", "args": {"first": 1}},
        "second": {"task": "add", "args": {"first": {"$ref": "first"}}},
        "beside": {"task": "nothing"},
    }
    view = await submit(stage, nodes)
    before = await reach(stage, view["id"], "completed")
    again = await stage.post(f"{GRAPHS}/{view['id']}/$rerun", {"node": "first"})
    assert (states(again)["second"], states(again)["beside"]) == ("blocked", "completed")
    ended = await reach(stage, view["id"], "completed")
    assert ended["nodes"]["beside"] == before["nodes"]["beside"]
    assert ended["nodes"]["second"]["finished_at"] > before["nodes"]["second"]["finished_at"]
    # A node that is run again by its job takes along what depends on it, too.
    await stage.post(f"{JOBS}/{ended['nodes']['first']['job_id']}/$retry")
    await reach(stage, view["id"], "completed")


async def test_what_cannot_run_again_is_named(stage: Stage) -> None:
    view = await submit(stage, {"a": {"task": "hold"}, "b": {"task": "nothing", "depends_on": ["a"]}})
    path = f"{GRAPHS}/{view['id']}"
    problem = await stage.post(f"{path}/$rerun", {"node": "c"}, status=422)
    assert (problem["errors"][0]["pointer"], problem["errors"][0]["allowed"]) == ("/node", ["a", "b"])
    problem = await stage.post(f"{path}/$rerun", {"node": "a b"}, status=422)
    assert problem["errors"][0]["pointer"] == "/node"
    problem = await stage.post(f"{path}/$rerun", {"nodes": "a"}, status=422)
    assert problem["errors"][0]["pointer"] == "/nodes"
    await stage.reach(view["nodes"]["a"]["job_id"], "running")
    problem = await stage.post(f"{path}/$rerun", {"node": "a"}, status=409)
    assert "is running: cancel it, or wait for its end, to run it again" in problem["detail"]
    # Nothing of it has failed, so there is nothing to do.
    assert states(await stage.post(f"{path}/$rerun")) == {"a": "running", "b": "blocked"}
    await stage.delete(path)


async def test_a_graph_is_removed_with_all_its_jobs(stage: Stage) -> None:
    nodes = {"a": {"task": "hold"}, "b": {"task": "nothing", "depends_on": ["a"]}, "c": {"task": "recover"}}
    before = await counts(stage)
    view = await submit(stage, nodes)
    await stage.reach(view["nodes"]["a"]["job_id"], "running")
    await stage.reach(view["nodes"]["c"]["job_id"], "completed")
    await stage.delete(f"{GRAPHS}/{view['id']}")
    await stage.get(f"{GRAPHS}/{view['id']}", status=404)
    for node in view["nodes"].values():
        await stage.get(f"{JOBS}/{node['job_id']}", status=404)
    assert await counts(stage) == before


async def test_a_graph_whose_last_job_is_removed_is_gone(stage: Stage) -> None:
    view = await submit(stage, {"a": {"task": "nothing"}, "b": {"task": "nothing"}})
    await reach(stage, view["id"], "completed")
    await stage.delete(f"{JOBS}/{view['nodes']['a']['job_id']}")
    assert list((await stage.get(f"{GRAPHS}/{view['id']}"))["nodes"]) == ["b"]
    await stage.delete(f"{JOBS}/{view['nodes']['b']['job_id']}")
    await stage.get(f"{GRAPHS}/{view['id']}", status=404)


async def test_graphs_are_queried_like_every_resource(stage: Stage) -> None:
    ids = [(await submit(stage, {"a": {"task": "nothing"}}, label="listed"))["id"] for _ in range(3)]
    assert [graph["id"] for graph in await stage.get(GRAPHS, params={"label": "listed"})] == ids[::-1]
    page = await stage.get(GRAPHS, params={"label": "listed", "page": 1, "size": 2})
    assert (page["total"], len(page["items"])) == (3, 2)
    found = await stage.post(f"{GRAPHS}/$query", {"filter": {"label": "listed"}, "fields": ["size"]}, status=200)
    assert found == [{"size": 1}] * 3
    assert "label" in (await stage.get(f"{GRAPHS}/$schema"))["x-query"]["filterable"]
    assert (await stage.get(f"{GRAPHS}/$stats"))["total"] >= 3


async def test_a_canceled_node_keeps_what_depends_on_it_from_running(stage: Stage) -> None:
    nodes = {
        "a": {"task": "hold", "args": {"name": "gate-a"}},
        "b": {"task": "nothing", "depends_on": ["a"]},
        "c": {"task": "nothing", "depends_on": {"a": "always"}},
    }
    view = await submit(stage, nodes)
    await stage.post(f"{JOBS}/{view['nodes']['b']['job_id']}/$cancel")
    with opened("gate-a"):
        ended = await reach(stage, view["id"], "canceled")
    assert states(ended) == {"a": "completed", "b": "canceled", "c": "completed"}
