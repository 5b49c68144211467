"""Many configurations and artifacts in one request: their own rules hold for each of them."""

from typing import Any

import pytest

from tests.service.api.model_service import ARTIFACTS, CONFIGS, Model


async def bulk(model: Model, path: str, *items: Any, status: int = 200, mode: str = "partial") -> list[dict[str, Any]]:
    reply = await model.stage.client.post(f"{path}/$bulk", json={"mode": mode, "items": items})
    assert reply.status_code == status, reply.text
    found: list[dict[str, Any]] = reply.json()["items"]
    return found


def create(data: Any, **more: Any) -> dict[str, Any]:
    return {"op": "create", "data": {"data": data, **more}}


async def test_configurations_are_checked_by_the_authors_type_one_by_one(model: Model) -> None:
    good, bad, other = await bulk(
        model,
        CONFIGS,
        create({"n-lags": 7}, name="one"),
        create({"n-lags": "many"}, name="two"),
        create({}, name="three", bogus=1),
        status=207,
    )
    assert [good["status"], bad["status"], other["status"]] == [201, 422, 201]
    assert bad["problem"]["errors"][0]["pointer"] == "/items/1/data/data/n-lags"
    assert (await model.stage.get(f"{CONFIGS}/{other['id']}"))["data"]["n-lags"] == 2
    [changed] = await bulk(model, CONFIGS, {"op": "update", "id": good["id"], "data": {"data": {"n-lags": 9}}})
    assert changed["outcome"] == "updated"
    assert (await model.stage.get(f"{CONFIGS}/{good['id']}"))["data"]["n-lags"] == 9


async def test_trees_go_with_the_configurations_that_are_deleted(model: Model) -> None:
    [config] = await bulk(model, CONFIGS, create({}, name="c"))
    [root] = await bulk(model, ARTIFACTS, create({"type": "generic", "content": 1}))
    await model.stage.post(f"{CONFIGS}/{config['id']}/$link-artifact", {"artifact_id": root["id"]}, status=204)
    await bulk(model, CONFIGS, {"op": "delete", "id": config["id"]})
    await model.stage.get(f"{ARTIFACTS}/{root['id']}", status=404)


async def test_artifacts_stand_where_they_are_put_by_the_same_request(model: Model) -> None:
    [root] = await bulk(model, ARTIFACTS, create({"type": "generic", "content": [1, 2]}))
    [child] = await bulk(model, ARTIFACTS, create("child", parent_id=root["id"]), mode="atomic")
    assert (await model.stage.get(f"{ARTIFACTS}/{root['id']}"))["data"]["content"] == [1, 2]
    found = await bulk(
        model,
        ARTIFACTS,
        create("other"),
        {"op": "update", "id": root["id"], "data": {"parent_id": child["id"]}},
        {"op": "delete", "id": root["id"]},
        status=207,
    )
    assert [item["status"] for item in found] == [201, 400, 204]
    orphan = await model.stage.get(f"{ARTIFACTS}/{child['id']}")
    assert (orphan["parent_id"], orphan["level"]) == (None, 0)


@pytest.mark.parametrize("mode, statuses", [("partial", [200, 400]), ("atomic", [400])])
async def test_two_artifacts_cannot_be_put_below_each_other(model: Model, mode: str, statuses: list[int]) -> None:
    one, other = await bulk(model, ARTIFACTS, create("one"), create("other"))
    moves = [
        {"op": "update", "id": one["id"], "data": {"parent_id": other["id"]}},
        {"op": "update", "id": other["id"], "data": {"parent_id": one["id"]}},
    ]
    reply = await model.stage.client.post(f"{ARTIFACTS}/$bulk", json={"mode": mode, "items": moves})
    assert [item["status"] for item in reply.json()["items"]] == statuses
    below = (await model.stage.get(f"{ARTIFACTS}/{one['id']}"))["parent_id"]
    assert below == (other["id"] if mode == "partial" else None)
    assert (await model.stage.get(f"{ARTIFACTS}/{other['id']}"))["parent_id"] is None
