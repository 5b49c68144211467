"""Versions of models over HTTP: made of trainings, measured, promoted behind gates, and rolled back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from domain.entity import new_id
from domain.errors import InvalidBody, Misconfigured
from domain.model_versions import CHAMPION, NewVersion
from domain.models import EnsembleRunner
from domain.registration import ServiceInfo
from service.builder import ServiceBuilder
from service.managers.model_versions import ModelVersions
from tests.service.api.jobs_service import UNKNOWN, staged
from tests.service.api.model_service import ARTIFACTS, CONFIGS, ML, Model, builder, functional, modelled

MODELS = "/api/v1/models"


class Named:
    """One model of a service, under a name of its own."""

    def __init__(self, service: Model, name: str, artifact: str) -> None:
        self.service = service
        self.name = name
        self.artifact = artifact
        self.path = f"{MODELS}/{name}"

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        """What the service answers."""
        reply = await self.service.stage.client.request(method, f"{self.path}{path}", json=body, **more)
        assert reply.status_code == status, reply.text
        return reply.json() if reply.content else None

    async def version(self, status: int = 201, **more: Any) -> Any:
        """The next version."""
        return await self.ask("POST", "/versions", {"artifact_id": self.artifact, **more}, status=status)

    async def status(self, number: int) -> str:
        """That of a version."""
        return str((await self.ask("GET", f"/versions/{number}"))["status"])

    async def promote(self, version: int, status: int = 200, **more: Any) -> Any:
        """The reply to a promotion."""
        return await self.ask("POST", "/$promote", {"version": version, **more}, status=status)


@pytest.fixture(scope="module")
async def trained(model: Model) -> str:
    """Something to make versions of."""
    return await model.trained()


@pytest.fixture
async def named(model: Model, trained: str) -> Named:
    """A model without versions."""
    name = f"outbreak-{new_id().lower()}"
    await model.stage.post(MODELS, {"name": name}, status=201)
    return Named(model, name, trained)


async def test_models_are_kept_under_names(model: Model) -> None:
    made = await model.stage.post(MODELS, {"name": "measles", "description": "by hand"}, status=201)
    assert await model.stage.get(f"{MODELS}/measles") == made == await model.stage.get(f"{MODELS}/{made['id']}")
    assert [item["name"] for item in await model.stage.get(f"{MODELS}?name=measles&fields=name")] == ["measles"]
    client = model.stage.client
    changed = await client.patch(f"{MODELS}/measles", json={"description": "by machine"})
    assert (changed.status_code, changed.json()["description"]) == (200, "by machine")
    again = await client.post(MODELS, json={"name": "measles"})
    assert (again.status_code, again.json()["fields"]) == (409, ["name"])
    for wrong in ("", "Measles", "a b", "-a", "a@b", "a/b", "a\n", "x" * 101, made["id"].lower()):
        reply = await client.post(MODELS, json={"name": wrong})
        assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["body", "name"]), wrong
    assert (await client.delete(f"{MODELS}/measles")).status_code == 204
    gone = await client.get(f"{MODELS}/measles")
    assert (gone.status_code, gone.json()["detail"]) == (404, 'There is no model "measles"')
    assert (await client.get(f"{MODELS}/{UNKNOWN}")).status_code == 404


async def test_versions_are_made_of_trainings_and_counted(named: Named) -> None:
    first = await named.version(metrics={"wis": 1, "crps": 0.5}, description="the first", tags=["a"])
    assert (first["number"], first["status"], first["metrics"]) == (1, "candidate", {"wis": 1.0, "crps": 0.5})
    assert (first["artifact_id"], first["code_revision"]) == (named.artifact, "0123abc")
    artifact = await named.service.artifact(named.artifact)
    assert first["config_id"] == artifact["config_id"]
    second = await named.version(status=201, signature={"inputs": [{"name": "rainfall", "type": "number"}]})
    assert second["number"] == 2
    assert second["signature"] == {"inputs": [{"name": "rainfall", "type": "number"}], "outputs": []}
    draft = await named.ask("POST", "/versions", {"artifact_id": named.artifact, "status": "draft"}, status=201)
    assert (draft["number"], draft["status"]) == (3, "draft")
    assert await named.ask("GET", "/versions/1") == first
    assert await named.ask("GET", "/versions/1?fields=number,status") == {"number": 1, "status": "candidate"}
    found = await named.ask("GET", "/versions?sort=-number&fields=number&status=candidate")
    assert found == [{"number": 2}, {"number": 1}]
    asked = {"filter": {"number": {"gt": 1}}, "limit": 1, "count": "exact"}
    page = await named.ask("POST", "/versions/$query", asked)
    assert ([item["number"] for item in page["items"]], page["total"]) == ([2], 2)
    rest = await named.ask("GET", f"/versions?limit=1&cursor={page['next_cursor']}&number[gt]=1&count=exact")
    assert [item["number"] for item in rest["items"]] == [3]


async def test_what_is_no_training_makes_no_version(named: Named) -> None:
    stored = await named.service.stage.post(ARTIFACTS, {"data": {"type": "note"}}, status=201)
    for id, words in ((stored["id"], "is not a training artifact"), (UNKNOWN, "not found")):
        problem = await named.ask("POST", "/versions", {"artifact_id": id}, status=422)
        assert problem["errors"][0]["loc"] == ["body", "artifact_id"]
        assert words in problem["detail"]
    for wrong in ({}, {"artifact_id": named.artifact, "metrics": {"a-b": 1}}, {"artifact_id": named.artifact, "n": 1}):
        await named.ask("POST", "/versions", wrong, status=422)
    live = await named.ask("POST", "/versions", {"artifact_id": named.artifact, "status": "live"}, status=422)
    assert live["errors"][0]["allowed"] == ["candidate", "draft"]
    assert await named.ask("GET", "/versions") == []
    reply = await named.service.stage.client.post(f"{MODELS}/nobody/versions", json={"artifact_id": named.artifact})
    assert reply.status_code == 404


async def test_a_version_changes_only_where_it_may(named: Named) -> None:
    made = await named.version(metrics={"wis": 1, "crps": 2})
    patched = await named.ask("PATCH", "/versions/1", {"metrics": {"wis": None, "mae": 3}, "description": "x"})
    assert (patched["metrics"], patched["description"]) == ({"crps": 2.0, "mae": 3.0}, "x")
    assert await named.ask("PATCH", "/versions/1", {**patched, "tags": ["t"]}) is not None
    for member in ("number", "model_id", "artifact_id"):
        problem = await named.ask("PATCH", "/versions/1", {member: 7 if member == "number" else UNKNOWN}, status=422)
        assert f'"{member}" of a version cannot change' in problem["detail"]
    client = named.service.stage.client
    tag = (await client.get(f"{named.path}/versions/1")).headers["etag"]
    stale = {"if-match": '"20200101000000000000-abc"'}
    await named.ask("PATCH", "/versions/1", {"description": "y"}, status=412, headers=stale)
    await named.ask("PATCH", "/versions/1", {"description": "y"}, headers={"if-match": tag})
    assert made["created_at"] == (await named.ask("GET", "/versions/1"))["created_at"]
    for wrong in ("0", "x", "-1", "1.5", "9" * 30):
        await named.ask("GET", f"/versions/{wrong}", status=400)
    await named.ask("GET", "/versions/2", status=404)


async def test_a_status_goes_where_the_table_says(named: Named) -> None:
    await named.version()
    problem = await named.ask("PATCH", "/versions/1", {"status": "live"}, status=409)
    assert problem["detail"] == (
        "Version 1 is candidate and cannot become live; it can become archived, draft; $promote makes it live"
    )
    assert problem["allowed"] == ["archived", "draft"]
    for status in ("draft", "candidate", "archived", "candidate"):
        assert (await named.ask("PATCH", "/versions/1", {"status": status}))["status"] == status
    await named.ask("PATCH", "/versions/1", {"status": "draft"})
    problem = await named.promote(1, status=409)
    assert problem["detail"] == "Version 1 is draft and cannot become live; it can become archived, candidate"
    await named.ask("PATCH", "/versions/1", {"status": "candidate"})
    await named.promote(1)
    problem = await named.ask("PATCH", "/versions/1", {"status": "archived"}, status=409)
    assert "it cannot become anything else by itself; promote another version" in problem["detail"]
    await named.ask("PATCH", "/versions/1", {"status": "alive"}, status=422)


async def test_a_version_is_promoted_when_it_meets_the_gate(named: Named) -> None:
    gate = "wis <= 0.95 * champion.wis and coverage_80 > 0.7"
    await named.version(metrics={"wis": 0.5, "coverage_80": 0.8})
    await named.version(metrics={"wis": 0.49, "coverage_80": 0.6})
    await named.version(metrics={"wis": 0.4, "coverage_80": 0.75})
    await named.version(metrics={"coverage_80": 0.75})
    first = await named.promote(1, gate=gate)
    assert (first["version"], first["former"], first["is_changed"]) == (1, None, True)
    assert first["gate"]["compared"][0] == {
        "comparison": "wis <= 0.95 * champion.wis",
        "left": None,
        "right": None,
        "is_met": True,
    }
    refused = await named.promote(2, gate=gate, status=409)
    assert refused["detail"] == (
        f"Version 2 of model {named.name} does not become champion: the gate is not met "
        "(wis <= 0.95 * champion.wis: 0.49 against 0.475; coverage_80 > 0.7: 0.6 against 0.7)"
    )
    assert [item["is_met"] for item in refused["gate"]["compared"]] == [False, False]
    assert await named.status(1) == "live"
    second = await named.promote(3, gate=gate)
    assert (second["former"], second["gate"]["compared"][0]["right"]) == (1, pytest.approx(0.475))
    assert [await named.status(number) for number in (1, 2, 3)] == ["archived", "candidate", "live"]
    again = await named.promote(3, gate=gate)
    assert (again["is_changed"], again["former"], again["gate"]) == (False, 3, None)
    missing = await named.promote(4, gate=gate, status=409)
    assert missing["detail"] == (
        'The gate asks for "wis" (character 0), and the version has no metric "wis"; it has coverage_80'
    )
    for wrong, at in (("wis <", 5), ("wis < 1 and", 11), ("open('x')", 5), ("wis < chmpion.wis", 6)):
        problem = await named.promote(2, gate=wrong, status=422)
        assert problem["errors"][0]["loc"] == ["body", "gate"], wrong
        assert problem["errors"][0]["position"] == at, wrong
    await named.promote(9, status=404)
    await named.promote(1, alias="Not one", status=422)


async def test_only_the_champion_is_live(named: Named) -> None:
    await named.version(metrics={"wis": 2})
    await named.version(metrics={"wis": 1})
    await named.promote(1)
    await named.promote(2, alias="challenger", gate="wis < champion.wis")
    assert [await named.status(number) for number in (1, 2)] == ["live", "candidate"]
    aliases = await named.ask("GET", "/aliases")
    assert [(item["alias"], item["version"], item["kind"]) for item in aliases] == [
        ("challenger", 2, "promoted"),
        ("champion", 1, "promoted"),
    ]
    assert aliases[0]["gate"] == "wis < champion.wis"
    await named.ask("DELETE", "/aliases/champion", status=204)
    assert await named.status(1) == "archived"
    gone = await named.ask("GET", "/aliases/champion", status=404)
    assert gone["detail"] == f'Alias "champion" of model {named.name} points to nothing'
    await named.ask("DELETE", "/aliases/champion", status=404)
    await named.ask("GET", "/aliases/never/$history", status=404)
    await named.ask("GET", "/aliases/UPPER", status=400)


async def test_an_alias_knows_what_it_pointed_to_at_any_moment(named: Named) -> None:
    for _ in range(3):
        await named.version()
    await named.promote(1)
    await named.ask("PUT", "/aliases/champion", {"version": 2})
    await named.promote(3)
    back = await named.ask("POST", "/aliases/champion/$rollback")
    assert (back["version"], back["former"]) == (2, 3)
    assert [await named.status(number) for number in (1, 2, 3)] == ["archived", "live", "archived"]
    further = await named.ask("POST", "/aliases/champion/$rollback")
    assert further["version"] == 1
    refused = await named.ask("POST", "/aliases/champion/$rollback", status=409)
    assert "pointed to nothing before" in refused["detail"]
    await named.ask("DELETE", "/aliases/champion", status=204)
    history = await named.ask("GET", "/aliases/champion/$history")
    assert [(move["version"], move["kind"]) for move in history] == [
        (None, "removed"),
        (1, "rolled_back"),
        (2, "rolled_back"),
        (3, "promoted"),
        (2, "set"),
        (1, "promoted"),
    ]
    for move in history[1:]:
        then = await named.ask("GET", "/aliases/champion", params={"as_of": move["at"]})
        assert (then["version"], then["kind"], then["at"]) == (move["version"], move["kind"], move["at"])
        assert [item["version"] for item in await named.ask("GET", "/aliases", params={"as_of": move["at"]})] == [
            move["version"]
        ]
    await named.ask("GET", "/aliases/champion", status=404, params={"as_of": history[0]["at"]})
    await named.ask("GET", "/aliases/champion", status=404, params={"as_of": "2020-01-01T00:00:00+02:00"})
    for wrong in ("yesterday", "1700000000", ""):
        problem = await named.ask("GET", "/aliases/champion", status=400, params={"as_of": wrong})
        assert '"as_of" must be a date and time' in problem["detail"]
    await named.ask("GET", "/aliases/champion?as-of=2020-01-01", status=400)


async def test_versions_are_compared(named: Named) -> None:
    await named.version(metrics={"wis": 2, "skill": 0.1, "coverage_80": 0.7, "n": 5})
    await named.version(metrics={"wis": 1.5, "skill": 0.1, "coverage_80": 0.83})
    found = await named.ask("GET", "/$compare?versions=1,2")
    assert found["versions"] == [1, 2]
    by_name = {item["name"]: item for item in found["metrics"]}
    assert by_name["wis"] == {
        "name": "wis",
        "values": {"1": 2.0, "2": 1.5},
        "differences": {"1": 0.0, "2": -0.5},
        "goal": "lower",
        "better": 2,
    }
    assert (by_name["skill"]["goal"], by_name["skill"]["better"]) == ("higher", None)
    assert (by_name["coverage_80"]["goal"], by_name["coverage_80"]["better"]) == ("near 0.8", 2)
    assert (by_name["n"]["goal"], by_name["n"]["better"], by_name["n"]["differences"]["2"]) == (None, None, None)
    await named.ask("GET", "/$compare?versions=1,9", status=404)
    for wrong in ("", "?versions=1", "?versions=1,1", "?versions=1,x", "?version=1,2", "?versions=1&versions=2"):
        await named.ask("GET", f"/$compare{wrong}", status=400)


async def test_the_document_says_that_names_will_do(model: Model) -> None:
    paths = (await model.stage.get("/openapi.json"))["paths"]
    for path, is_name in ((f"{MODELS}/{{id}}", True), (f"{MODELS}/{{id}}/versions/{{number}}", True), (CONFIGS, False)):
        one = paths[path if is_name else f"{path}/{{id}}"]["get"]
        [schema] = [item["schema"] for item in one["parameters"] if (item["name"], item["in"]) == ("id", "path")]
        assert ("pattern" not in schema) is is_name
    listed = paths[f"{MODELS}/{{id}}/versions"]["get"]["parameters"]
    assert {"filter", "sort", "status", "number"} <= {item["name"] for item in listed}


async def test_what_is_needed_is_not_deleted(named: Named) -> None:
    model = named.service
    config = await model.config()
    accepted = await model.train(config)
    await model.stage.reach(accepted["job_id"], "completed")
    artifact = accepted["artifact_id"]
    await named.ask("POST", "/versions", {"artifact_id": artifact}, status=201)
    client = model.stage.client
    for path in (f"{ARTIFACTS}/{artifact}", f"{CONFIGS}/{config}"):
        refused = await client.delete(path)
        assert refused.status_code == 409
        assert f"version 1 of model {named.name} is made of it" in refused.json()["detail"]
    changed = await client.put(f"{ARTIFACTS}/{artifact}", json={"data": {"content": 1}})
    assert (changed.status_code, "cannot change" in changed.json()["detail"]) == (409, True)
    kept = await client.delete(named.path)
    assert (kept.status_code, "archive its versions first" in kept.json()["detail"]) == (409, True)
    await named.ask("PATCH", "/versions/1", {"status": "archived"})
    await named.ask("PUT", "/aliases/old", {"version": 1})
    assert "old points to it" in (await client.delete(f"{ARTIFACTS}/{artifact}")).json()["detail"]
    assert "delete its aliases first" in (await client.delete(named.path)).json()["detail"]
    await named.ask("DELETE", "/aliases/old", status=204)
    assert (await client.delete(f"{CONFIGS}/{config}")).status_code == 204
    left = await named.ask("GET", "/versions/1")
    assert (left["artifact_id"], left["artifact_deleted_at"] is not None) == (artifact, True)
    for path, body in (("/aliases/old/$rollback", None), ("/$promote", {"version": 1})):
        refused = await named.ask("POST", path, body, status=409)
        assert f"its artifact {artifact} was deleted" in refused["detail"]
    assert (await client.delete(named.path)).status_code == 204
    again = await client.post(MODELS, json={"name": named.name})
    assert again.status_code == 201
    assert await named.ask("GET", "/versions") == []
    await named.ask("GET", "/aliases/old/$history", status=404)


async def test_numbers_have_no_gaps_and_no_twins_when_many_are_made_at_once(named: Named) -> None:
    wrong = {"artifact_id": UNKNOWN}
    made, _ = await asyncio.gather(
        asyncio.gather(*(named.version() for _ in range(20))),
        asyncio.gather(*(named.ask("POST", "/versions", wrong, status=422) for _ in range(5))),
    )
    assert sorted(version["number"] for version in made) == list(range(1, 21))


async def test_of_two_promotions_against_the_same_champion_one_wins(named: Named) -> None:
    await named.version(metrics={"wis": 1.0})
    await named.promote(1)
    for _ in range(8):
        await named.version(metrics={"wis": 0.9})
    client = named.service.stage.client
    asked = [{"version": number, "gate": "wis <= 0.95 * champion.wis"} for number in range(2, 10)]
    replies = await asyncio.gather(*(client.post(f"{named.path}/$promote", json=body) for body in asked))
    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 7
    statuses = [item["status"] for item in await named.ask("GET", "/versions?fields=status")]
    assert statuses.count("live") == 1
    assert len(await named.ask("GET", "/aliases/champion/$history")) == 2


# Predicting with them


async def test_predicting_by_alias_or_number_says_which_version_it_was(named: Named) -> None:
    model = named.service
    await named.version()
    other = await model.trained()
    await named.ask("POST", "/versions", {"artifact_id": other}, status=201)
    await named.promote(2)
    sample = await model.sample("predict")
    client = model.stage.client
    for reference, number, artifact in ((f"{named.name}@champion", 2, other), (f"{named.name}@1", 1, named.artifact)):
        reply = await client.post(f"{ML}/$predict", json={"model": reference, **sample})
        accepted = reply.json()
        used = {"model": named.name, "number": number}
        assert (reply.status_code, accepted["model_version"]) == (202, used), reply.text
        assert reply.headers["x-model-version"] == f"{named.name}@{number}"
        # What the alias points to from now on makes no difference to what was asked for.
        await named.ask("PUT", "/aliases/champion", {"version": 1})
        job = await model.stage.reach(accepted["job_id"], "completed")
        assert (job["args"]["model_id"], job["args"]["model_version"]) == (artifact, used)
        predicted = await model.artifact(accepted["artifact_id"])
        assert predicted["parent_id"] == artifact
        assert predicted["data"]["metadata"]["model_version"] == used
        checked = await client.post(f"{ML}/$validate", json={"type": "predict", "model": reference, **sample})
        assert checked.json()["model_version"]["model"] == named.name
        assert "x-model-version" in checked.headers


async def test_who_predicts_by_artifact_sees_what_there_was_before(named: Named) -> None:
    model = named.service
    reply = await model.stage.client.post(
        f"{ML}/$predict", json={"artifact_id": named.artifact, **await model.sample("predict")}
    )
    accepted = reply.json()
    assert list(accepted) == ["job_id", "artifact_id", "message"]
    assert "x-model-version" not in reply.headers
    job = await model.stage.reach(accepted["job_id"], "completed")
    assert sorted(job["args"]) == ["artifact_id", "config_id", "model_id", "request"]
    assert "model_version" not in (await model.artifact(accepted["artifact_id"]))["data"]["metadata"]


async def test_a_request_says_once_what_is_to_predict(named: Named) -> None:
    model = named.service
    sample = await model.sample("predict")
    client = model.stage.client
    neither = await client.post(f"{ML}/$predict", json=sample)
    assert neither.status_code == 422
    assert [(item["type"], item["loc"], item["msg"]) for item in neither.json()["errors"]] == [
        ("missing", ["body", "artifact_id"], '"artifact_id" is required')
    ]
    for verb in ("$predict", "$validate"):
        both = {"type": "predict", "artifact_id": named.artifact, "model": f"{named.name}@1", **sample}
        reply = await client.post(f"{ML}/{verb}", json=both)
        assert (reply.status_code, reply.json()["errors"][0]["msg"]) == (422, 'give "artifact_id" or "model", not both')
        for wrong in (named.name, f"{named.name}@", f"{named.name}@0", f"{named.name}/1", "@champion", "a@B", "a@1\n"):
            reply = await client.post(f"{ML}/{verb}", json={"type": "predict", "model": wrong, **sample})
            assert (reply.status_code, reply.json()["errors"][0]["loc"]) == (422, ["body", "model"]), wrong
    for reference in (f"{named.name}@champion", f"{named.name}@7", "nobody@champion"):
        reply = await client.post(f"{ML}/$predict", json={"model": reference, **sample})
        assert reply.status_code == 404
        checked = await client.post(f"{ML}/$validate", json={"type": "predict", "model": reference, **sample})
        assert (checked.status_code, checked.json()["valid"]) == (200, False)
        assert checked.json()["diagnostics"][0]["code"] == "model_version_not_found"


class Undone(Exception):
    """What undoes a change."""


async def make_and_undo(versions: ModelVersions, named: Named) -> None:
    """Make and promote a version in a transaction that does not last."""
    async with named.service.stage.engine.transaction():
        made = await versions.create(named.name, NewVersion(artifact_id=named.artifact, metrics={"wis": 1.0}))
        promoted = await versions.promote(named.name, made.number, CHAMPION, "wis <= champion.wis")
        assert promoted.is_changed
        raise Undone


async def test_a_promotion_joins_the_transaction_around_it(named: Named) -> None:
    modelling = named.service.stage.container.modelling
    assert modelling is not None
    versions = modelling.versions
    engine = named.service.stage.engine
    with pytest.raises(Undone):
        await make_and_undo(versions, named)
    assert await named.ask("GET", "/versions") == []
    await named.ask("GET", "/aliases/champion", status=404)
    async with engine.transaction():
        made = await versions.create(named.name, NewVersion(artifact_id=named.artifact, metrics={"wis": 1.0}))
        await versions.promote(named.name, made.number)
    assert (await versions.resolve(f"{named.name}@champion")).number == made.number == 1
    again = await versions.create(named.name, NewVersion(artifact_id=named.artifact))
    found = await versions.of_artifact(named.name, named.artifact.lower())
    assert found is not None
    assert (found.number, again.number) == (2, 2)
    assert await versions.of_artifact(named.name, UNKNOWN) is None
    with pytest.raises(InvalidBody, match="finite"):
        await versions.create(named.name, NewVersion(artifact_id=named.artifact, metrics={"wis": float("nan")}))
    with pytest.raises(InvalidBody, match="finite"):
        await versions.patch(named.name, 1, {"metrics": {"wis": float("inf")}})


async def test_a_service_without_models_predicts_by_artifact_alone(tmp_path: Path) -> None:
    def bare(url: str) -> ServiceBuilder:
        made = builder(url, functional())
        made._choices.models = None
        return made

    kept = {"storage_folder": tmp_path / "storage", "temporary_folder": tmp_path / "scratch"}
    async with staged(f"sqlite:///{tmp_path / 'bare.db'}", None, bare, **kept) as stage:
        service = Model(stage, tmp_path / "scratch")
        reply = await stage.client.post(f"{ML}/$predict", json={"model": "a@1", **await service.sample("predict")})
        assert (reply.status_code, "no versions of models" in reply.json()["detail"]) == (422, True)
        assert (await stage.client.get(MODELS)).status_code == 404


def test_versions_need_a_model_to_be_versions_of() -> None:
    made = ServiceBuilder(info=ServiceInfo(id="a", display_name="A")).with_database().with_models()
    with pytest.raises(Misconfigured, match="with_ml"):
        made.build()


async def test_the_forecast_of_an_ensemble_says_which_version_it_is_of(tmp_path: Path) -> None:
    runner = EnsembleRunner({"one": functional(), "two": functional()}, "mean")
    async with modelled(f"sqlite:///{tmp_path / 'ensemble.db'}", None, tmp_path, runner) as service:
        artifact = await service.trained()
        await service.stage.post(MODELS, {"name": "both"}, status=201)
        await service.stage.post(f"{MODELS}/both/versions", {"artifact_id": artifact}, status=201)
        body = {"model": "both@1", **await service.sample("predict")}
        accepted = await service.stage.post(f"{ML}/$predict", body)
        await service.stage.reach(accepted["job_id"], "completed")
        predicted = await service.artifact(accepted["artifact_id"])
        used = {"model": "both", "number": 1}
        assert (accepted["model_version"], predicted["data"]["metadata"]["model_version"]) == (used, used)
        assert "ensemble" in predicted["data"]["metadata"]
