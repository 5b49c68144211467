"""Configurations and artifacts over HTTP: links, trees, contents, and what is refused."""

from typing import Any

import pytest

from tests.service.api.jobs_service import UNKNOWN
from tests.service.api.model_service import ARTIFACTS, CONFIGS, FRAME_TYPE, Model

FRAME = {"columns": ["place", "cases"], "data": [["007", 1], ["NO", None]]}


async def made(model: Model, data: Any, status: int = 201, **more: Any) -> dict[str, Any]:
    """A new artifact."""
    found: dict[str, Any] = await model.stage.post(ARTIFACTS, {"data": data, **more}, status=status)
    return found


async def put(model: Model, artifact: dict[str, Any], status: int = 200, **more: Any) -> dict[str, Any]:
    """An artifact after it was replaced."""
    body = {"data": artifact["data"], **more}
    reply = await model.stage.client.put(f"{ARTIFACTS}/{artifact['id']}", json=body)
    assert reply.status_code == status, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def get(model: Model, artifact: dict[str, Any], operation: str = "", status: int = 200) -> Any:
    """What is at an artifact."""
    return await model.stage.get(f"{ARTIFACTS}/{artifact['id']}{operation}", status=status)


# Configurations


async def test_a_configuration_is_kept_as_it_was_sent(model: Model) -> None:
    data = {"user_option_values": {"n-lags": 7}, "additional_continuous_covariates": ["x"], "id": 3, "archived": False}
    reply = await model.stage.client.post(CONFIGS, json={"name": "cc", "data": data, "bogus": 1, "über": 2})
    assert reply.status_code == 201
    assert reply.headers["x-ignored-fields"] == "bogus, %C3%BCber"
    created = reply.json()
    assert reply.headers["location"] == f"{model.stage.url}{CONFIGS}/{created['id']}"
    assert created["data"] == {
        "n-lags": 7,
        "prediction_periods": 3,
        "additional_continuous_covariates": ["x"],
        "id": 3,
        "archived": False,
    }
    assert created in await model.stage.get(CONFIGS)
    many = {f"{number}-{'x' * 99}": number for number in range(99)}
    reply = await model.stage.client.post(CONFIGS, json={"name": "many", "data": {}, **many})
    assert len(names := reply.headers["x-ignored-fields"].split(", ")) == 21
    assert (names[0], names[-1]) == (f"0-{'x' * 48}", "...")
    again = await model.stage.client.put(f"{CONFIGS}/{created['id']}", json={"name": "d", "data": {}, "more": 1})
    assert again.headers["x-ignored-fields"] == "more"
    assert again.json()["data"]["n-lags"] == 2
    patched = await model.stage.client.patch(f"{CONFIGS}/{created['id']}", json={"data": {"n-lags": 4}})
    assert "x-ignored-fields" not in patched.headers
    assert patched.json()["data"] == {**again.json()["data"], "n-lags": 4}


async def test_data_that_the_author_refuses_is_named(model: Model) -> None:
    problem = await model.stage.post(CONFIGS, {"name": "c", "data": {"n-lags": "many"}}, status=422)
    assert [error["loc"] for error in problem["errors"]] == [["body", "data", "n-lags"]]
    problem = await model.stage.post(CONFIGS, {"data": {}}, status=422)
    assert [error["loc"] for error in problem["errors"]] == [["body", "name"]]


async def test_the_schema_of_configurations_is_that_of_their_data(model: Model) -> None:
    schema = await model.stage.get(f"{CONFIGS}/$schema")
    assert set(schema["properties"]) == {"prediction_periods", "additional_continuous_covariates", "n-lags"}


async def test_a_tree_belongs_to_one_configuration_and_goes_with_it(model: Model) -> None:
    one, other = await model.config(), await model.config()
    root = await made(model, {"type": "generic", "content": {"x": 1}})
    child = await made(model, "leaf", parent_id=root["id"])
    link = {"artifact_id": root["id"]}
    await model.stage.post(f"{CONFIGS}/{one}/$link-artifact", link, status=204)
    problem = await model.stage.post(f"{CONFIGS}/{other}/$link-artifact", link, status=409)
    assert problem["constraint"] == "unique"
    problem = await model.stage.post(f"{CONFIGS}/{one}/$link-artifact", {"artifact_id": child["id"]}, status=400)
    assert problem["detail"] == f"Artifact {child['id']} is not a root artifact (parent_id={root['id']})"
    await model.stage.post(f"{CONFIGS}/{one}/$link-artifact", {"artifact_id": UNKNOWN}, status=400)
    await model.stage.post(f"{CONFIGS}/{UNKNOWN}/$link-artifact", link, status=404)
    assert (await get(model, child, "/$config"))["id"] == one
    [linked] = await model.stage.get(f"{CONFIGS}/{one}/$artifacts")
    assert linked["data"]["content"] == {"x": 1}
    assert await model.stage.get(f"{CONFIGS}/{UNKNOWN}/$artifacts") == []
    await model.stage.post(f"{CONFIGS}/{other}/$unlink-artifact", link, status=404)
    await model.stage.post(f"{CONFIGS}/{one}/$unlink-artifact", link, status=204)
    await get(model, child, "/$config", status=404)
    await model.stage.post(f"{CONFIGS}/{one}/$link-artifact", link, status=204)
    await model.stage.delete(f"{CONFIGS}/{one}")
    for artifact in (root, child):
        await get(model, artifact, status=404)


# Contents


async def test_contents_are_kept_apart_and_come_back_whole(model: Model) -> None:
    data = {"type": "generic", "metadata": {"k": 1}, "content": {"x": [1, None]}, "content_type": "application/json"}
    artifact = await made(model, data, level=99, tags=["t"])
    assert (artifact["data"], artifact["level"], artifact["tags"]) == (data, 0, ["t"])
    assert (artifact["content_kind"], artifact["content_bytes"]) == ("json", len(b'{"x":[1,null]}'))
    assert "signature" not in artifact
    assert (await get(model, artifact))["data"] == data
    [row] = [item for item in await model.stage.get(ARTIFACTS) if item["id"] == artifact["id"]]
    assert row["data"] == {name: value for name, value in data.items() if name != "content"}
    found = await model.stage.engine.fetch(f"SELECT data FROM millrace_artifacts WHERE id = '{artifact['id']}'")
    assert "null" not in str(found[0][0])
    assert await get(model, artifact, "/$metadata") == {"k": 1}
    kept = await model.stage.client.patch(f"{ARTIFACTS}/{artifact['id']}", json={"data": {"metadata": {"k": 2}}})
    assert kept.json()["content_sha256"] == artifact["content_sha256"]
    replaced = await put(model, {**artifact, "data": {"type": "generic"}})
    assert (replaced["data"], replaced["content_kind"], replaced["content_sha256"]) == (
        {"type": "generic"},
        "none",
        None,
    )


@pytest.mark.parametrize(
    "sent, data, kind",
    [
        (5, 5, "none"),
        ([1], [1], "none"),
        ({"content": None}, {"type": "generic"}, "none"),
        ({"content": {"y": 2}}, {"type": "generic", "content": {"y": 2}}, "json"),
        ({"k": 1}, {"type": "generic", "content": {"x": 1}, "k": 1}, "json"),
    ],
)
async def test_a_content_is_patched_as_the_member_it_is(model: Model, sent: Any, data: Any, kind: str) -> None:
    artifact = await made(model, {"type": "generic", "content": {"x": 1}})
    reply = await model.stage.client.patch(f"{ARTIFACTS}/{artifact['id']}", json={"data": sent})
    assert reply.status_code == 200, reply.text
    found = await get(model, artifact)
    assert found == reply.json()
    assert (found["data"], found["content_kind"]) == (data, kind)
    assert (found["content_sha256"] is None, found["content_bytes"] is None) == (kind == "none", kind == "none")
    for operation in ("/$tree", "/$expand", "/$metadata"):
        await get(model, artifact, operation)
    await get(
        model, artifact, "/$download", status=200 if kind == "json" else 404 if data == {"type": "generic"} else 400
    )


async def test_data_that_is_patched_to_null_is_refused(model: Model) -> None:
    artifact = await made(model, {"content": {"x": 1}})
    reply = await model.stage.client.patch(f"{ARTIFACTS}/{artifact['id']}", json={"data": None})
    assert (reply.status_code, reply.json()["constraint"]) == (409, "not_null")
    assert (await get(model, artifact))["data"] == {"content": {"x": 1}}


async def test_nothing_but_one_artifact_needs_the_storage(model: Model) -> None:
    root = await made(model, {"content": [1, 2, 3]})
    storage = model.stage.container.storage
    assert storage is not None
    assert await storage.delete(root["content_sha256"])
    assert [item["id"] for item in await model.stage.get(f"{ARTIFACTS}?id={root['id']}")] == [root["id"]]
    for operation in ("/$tree", "/$expand", "/$metadata"):
        await get(model, root, operation)
    await get(model, root, status=404)


@pytest.mark.parametrize("data", ["text", 7, [1, {"content": 2}], {}, False])
async def test_data_may_be_any_json(model: Model, data: Any) -> None:
    artifact = await made(model, data)
    assert ((await get(model, artifact))["data"], artifact["content_kind"]) == (data, "none")
    assert await get(model, artifact, "/$metadata") == {}


async def test_data_cannot_be_null(model: Model) -> None:
    problem = await made(model, None, status=409)
    assert problem["constraint"] == "not_null"
    artifact = await made(model, {})
    assert (await put(model, {**artifact, "data": None}, status=409))["constraint"] == "not_null"


async def downloaded(model: Model, data: Any, status: int = 200) -> Any:
    artifact = await made(model, data)
    reply = await model.stage.client.get(f"{ARTIFACTS}/{artifact['id']}/$download")
    assert reply.status_code == status, reply.text
    name = reply.headers.get("content-disposition", "").removeprefix(f"attachment; filename=artifact_{artifact['id']}")
    return reply, name


async def test_contents_can_be_downloaded_as_files(model: Model) -> None:
    reply, name = await downloaded(model, {"content": {"a": 1}, "content_type": "application/json"})
    assert (reply.json(), name, reply.headers["x-content-type-options"]) == ({"a": 1}, ".json", "nosniff")
    reply, name = await downloaded(model, {"content": FRAME, "content_type": FRAME_TYPE})
    assert (reply.json(), name) == ([{"place": "007", "cases": 1}, {"place": "NO", "cases": None}], ".json")
    reply, name = await downloaded(model, {"content": FRAME, "content_type": "text/csv"})
    assert (reply.text, name) == ("place,cases\r\n007,1\r\nNO,\r\n", ".csv")
    assert reply.headers["content-type"].startswith("text/csv")
    for told in ("text/html\r\nx-evil: 1", "ünïcode/x", 7):
        reply, name = await downloaded(model, {"content": {"a": 1}, "content_type": told})
        assert (name, reply.headers["content-type"]) == (".bin", "application/octet-stream")
    reply, name = await downloaded(model, {"content": {"a": 1}})
    assert (name, reply.headers["content-type"]) == (".bin", "application/octet-stream")


@pytest.mark.parametrize(
    "data, status", [({"content": 7}, 400), ({"content": "s"}, 400), ({"content": None}, 404), ({}, 404), ("s", 400)]
)
async def test_what_is_no_file_is_not_downloaded(model: Model, data: Any, status: int) -> None:
    await downloaded(model, data, status)


@pytest.mark.parametrize("told", [FRAME_TYPE, "text/csv"])
@pytest.mark.parametrize(
    "content",
    [
        {"columns": [1], "data": []},
        {"columns": ["a", "a"], "data": [[1, 2]]},
        {"columns": ["a", "b"], "data": [[1]]},
        {"columns": ["a"], "data": ["x"]},
        {"columns": ["a"], "data": [], "schema": {"fields": 5}},
    ],
)
async def test_what_only_looks_like_a_frame_is_no_file_of_rows(model: Model, content: Any, told: str) -> None:
    reply, _ = await downloaded(model, {"content": content, "content_type": told}, status=400)
    assert "is no frame, so it cannot be downloaded as" in reply.json()["detail"]


# Trees


async def test_a_tree_is_shown_from_where_it_is_asked_for(model: Model) -> None:
    root = await made(model, {"content": 1})
    child = await made(model, {"content": 2}, parent_id=root["id"])
    leaf = await made(model, {"content": 3}, parent_id=child["id"].lower())
    assert (child["level"], leaf["level"], leaf["root_id"]) == (1, 2, root["id"])
    tree = await get(model, child, "/$tree")
    assert (tree["id"], tree["level_label"], tree["hierarchy"]) == (child["id"], "forecast", "models")
    assert [(node["id"], node["children"], node["data"]) for node in tree["children"]] == [(leaf["id"], [], {})]
    expanded = await get(model, leaf, "/$expand")
    assert (expanded["level_label"], expanded["children"]) == ("level_2", None)
    for operation in ("$tree", "$expand", "$metadata", "$download", "$config"):
        await model.stage.get(f"{ARTIFACTS}/{UNKNOWN}/{operation}", status=404)
        await model.stage.get(f"{ARTIFACTS}/nonsense/{operation}", status=400)


async def test_levels_are_right_after_a_move_and_after_the_loss_of_a_parent(model: Model) -> None:
    root, other = await made(model, 1), await made(model, 2)
    child = await made(model, 3, parent_id=root["id"])
    leaf = await made(model, 4, parent_id=child["id"])
    moved = await put(model, child, parent_id=other["id"])
    assert (moved["level"], moved["root_id"]) == (1, other["id"])
    assert (await get(model, leaf))["root_id"] == other["id"]
    for parent in (child, leaf):
        problem = await put(model, child, status=400, parent_id=parent["id"])
        assert "its own ancestor" in problem["detail"]
    problem = await put(model, child, status=409, parent_id=UNKNOWN)
    assert problem["constraint"] == "foreign_key"
    assert (await made(model, 5, status=409, parent_id=UNKNOWN))["constraint"] == "foreign_key"
    await model.stage.delete(f"{ARTIFACTS}/{other['id']}")
    orphan, below = await get(model, child), await get(model, leaf)
    assert (orphan["parent_id"], orphan["level"], orphan["root_id"]) == (None, 0, child["id"])
    assert (below["parent_id"], below["level"], below["root_id"]) == (child["id"], 1, child["id"])


async def test_a_tree_cannot_be_too_deep(model: Model) -> None:
    parent = await made(model, 0)
    for _ in range(63):
        parent = await made(model, 0, parent_id=parent["id"])
    problem = await made(model, 0, status=400, parent_id=parent["id"])
    assert "would stand on level 64" in problem["detail"]


async def test_every_row_that_relies_on_content_is_known_to_the_check(model: Model) -> None:
    artifact = await made(model, {"content": "of mine"})
    trained = await model.trained()
    known = [reference async for reference in model.stage.container.references()]
    assert {artifact["content_sha256"], (await model.artifact(trained))["content_sha256"]} <= {
        reference.sha256 for reference in known
    }
    jobs = await model.stage.get("/api/v1/jobs", params={"kind": "ml.train"})
    assert {job["args"]["request"] for job in jobs} <= {reference.sha256 for reference in known}
