"""The client of Redis: passwords as they are meant, socket files, certificates, and an end that is one."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.redis_url import parse_redis_url
from infra.queue.arq import ArqDoorbell
from infra.queue.connection import Client
from tests.infra.queue.wakes import Wakes
from tests.servers import redis


def test_a_certificate_must_be_that_of_the_host() -> None:
    settings = Client(parse_redis_url("rediss://cache")).connection_pool.connection_kwargs
    assert settings["ssl_check_hostname"] is True
    assert settings["ssl_cert_reqs"] == "required"


async def test_a_password_is_used_as_it_is_meant(redis_url: str) -> None:
    name = f"test-{uuid4().hex}"
    async with Redis.from_url(redis_url) as administrator:
        await administrator.execute_command("ACL", "SETUSER", name, "on", "~*", "&*", "+@all", ">p@ss/w%rd#")
        try:
            client = Client(parse_redis_url(redis_url.replace("://", f"://{name}:p%40ss%2Fw%25rd%23@")))
            assert await client.execute_command("ACL", "WHOAMI") == name.encode()
            await client.disconnect()
        finally:
            await administrator.execute_command("ACL", "DELUSER", name)


async def test_a_redis_may_be_reached_through_a_socket_file() -> None:
    with redis(settings={"unixsocket": "redis.sock", "unixsocketperm": "777"}) as server:
        url = f"unix://{server.directory}/redis.sock?db=1"
        doorbell, wakes = ArqDoorbell(url, namespace="test"), Wakes()
        async with doorbell.answered(["mail"], wakes):
            await wakes.reach(1)
            doorbell.ring("mail", "1")
            await wakes.reach(2)
        await doorbell.close()


async def test_a_closed_client_does_not_connect_again(redis_url: str) -> None:
    client = Client(parse_redis_url(redis_url))
    assert await client.ping()
    await client.disconnect()
    with pytest.raises(RedisError, match="closed"):
        await client.ping()
