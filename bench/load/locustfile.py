"""What the users of the external load generator do; it runs in an environment of its own, without the project."""

import json
import random
from urllib.parse import quote

from locust import FastHttpUser, between, task

USERS = "/api/v1/users"
FILTER = quote(json.dumps({"is_active": True, "age": {"gte": 30}}, separators=(",", ":")))


class Visitor(FastHttpUser):
    """Reads much, changes a little; ten reads come on one write, as on most services."""

    wait_time = between(0.0, 0.05)

    def on_start(self) -> None:
        """Know some rows."""
        self.ids = [
            row["id"] for row in self.client.get(f"{USERS}?page=1&size=100", name="page of 100").json()["items"]
        ]

    @task(10)
    def find(self) -> None:
        """GET by id, the second time by its ETag."""
        path = f"{USERS}/{random.choice(self.ids)}"
        found = self.client.get(path, name="GET by id")
        with self.client.get(
            path, headers={"if-none-match": found.headers["etag"]}, name="304 by ETag", catch_response=True
        ) as reply:
            # Somebody may have changed the row in between.
            if reply.status_code not in (200, 304):
                reply.failure(f"status {reply.status_code}")
            else:
                reply.success()

    @task(5)
    def page(self) -> None:
        """A page somewhere in the middle."""
        self.client.get(f"{USERS}?page={random.randint(1, 20)}&size=50", name="page of 50")

    @task(2)
    def query(self) -> None:
        """A filter, an order and chosen fields, by cursor."""
        self.client.get(f"{USERS}?filter={FILTER}&sort=-age&fields=id,name,age&limit=50", name="query")

    @task(1)
    def write(self) -> None:
        """A new row, changed and deleted again."""
        unique = random.getrandbits(64)
        made = self.client.post(USERS, json={"name": "New", "email": f"new{unique}@example.com"}, name="POST")
        path = f"{USERS}/{made.json()['id']}"
        self.client.patch(path, json={"age": 40}, name="PATCH")
        self.client.delete(path, name="DELETE")
