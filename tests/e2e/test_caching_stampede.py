"""Several server processes that are asked for the same at the same moment: one of them makes the reply."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx

from tests.processes import serving
from tests.service.cli.modules import shop

ITEMS = "/api/v1/items"
PROCESSES, CALLERS = 4, 20

# Writes down each time that an item is read, which takes a while.
SLOW = '''
class Slow(Hooks[Item]):
    """Readings that take their time."""

    async def around_read(self, reading, load):
        with Path("readings").open("a") as file:
            file.write(reading.id + "\\n")
        await asyncio.sleep(0.5)
        return await load()


app = ('''


async def test_one_of_four_processes_with_twenty_callers_each_makes_the_reply(
    tmp_path: Path, postgres_url: str, redis_url: str
) -> None:
    shop(
        tmp_path,
        ("from typing", "import asyncio\nfrom pathlib import Path\nfrom typing"),
        ("from service.builder", "from service.managers.hooks import Hooks\nfrom service.builder"),
        ("\napp = (", SLOW),
        ("table=Items)", "table=Items, hooks=[Slow()])\n    .with_cache()"),
    )
    variables = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_url}
    with ExitStack() as services:
        urls = [services.enter_context(serving(folder=tmp_path, variables=variables)).url for _ in range(PROCESSES)]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)) for url in urls]
            items = [(await clients[0].post(ITEMS, json={"name": f"Lamp {n}", "price": n})).json() for n in range(2)]
            # Connected and warm; of the second item nobody knows anything yet.
            for item in items:
                replies = await asyncio.gather(
                    *[client.get(f"{ITEMS}/{item['id']}") for client in clients for _ in range(CALLERS)]
                )
                assert [reply.json() for reply in replies] == [item] * (PROCESSES * CALLERS)
                made = [reply for reply in replies if "stored" in reply.headers["cache-status"]]
                assert len(made) == 1, [reply.headers["cache-status"] for reply in made]
            assert (tmp_path / "readings").read_text().split() == [item["id"] for item in items]
