"""Reads what `/metrics` says."""

import asyncio

import httpx
from prometheus_client.parser import text_string_to_metric_families

from domain.tasks import task
from tests.sample import builder, serving, settings

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(client: httpx.AsyncClient, path: str = "/metrics") -> Samples:
    reply = await client.get(path)
    assert reply.status_code == 200, reply.text
    return parsed(reply.text)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of everything with this name and these labels."""
    return sum(
        number for (found, own), number in samples.items() if found == name and labels.items() <= dict(own).items()
    )


@task(retries=1, retry_delay=0.01)
async def fail() -> None:
    raise ValueError("no")


async def names_of_everything(url: str) -> set[str]:
    """The names of all that a service can show that has one of everything."""
    made = builder(url).with_tasks(fail).with_schedules().with_cache().with_monitoring()
    async with serving(made.build(settings())) as client:
        await client.post("/api/v1/tasks/fail/$execute", json={})
        await client.get("/api/v1/items")
        while total(samples := await scraped(client), "millrace_jobs_finished_total") == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        # Those of counters that nothing has happened to yet are not in the text.
        return {name for name, _ in samples} | {family.name for family in made.build(settings()).measures.families()}
