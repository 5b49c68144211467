"""Three hundred people who do not exist, so that there is something to filter, sort and search."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from domain.errors import Conflict
from service.http.application import Service

COUNT = 300

GIVEN = """Ada Aino Amara Anders Aisha Bao Beatriz Bjarne Carmen Chidi Chloe Daniel Devika Diego Elif Emil Esther Farah
Felix Fatou Grace Gustav Hana Hugo Ibrahim Ines Ivan Jamal Jia Johan Julia Kofi Kiran Laila Lars Lin Lucia Malik Maria
Mateo Mei Nadia Nils Noor Olga Omar Paula Pedro Priya Rania Rosa Ruben Sara Sofia Tariq Thandi Tomas Uma Victor Wei
Yara Yusuf Zainab Zoe""".split()  # noqa: SIM905 - easier to read than a list of quotes
FAMILY = """Abdi Almeida Andersen Banerjee Berg Castro Chen Costa Dahl Diallo Dubois Eriksen Farouk Fernandez Garcia
Haddad Hansen Hassan Ito Jensen Kamau Khan Kim Kowalski Larsen Lopez Lovelace Mbeki Mensah Moreau Nakamura Nguyen
Novak Okafor Olsen Osei Patel Pereira Petrov Rahman Rossi Sato Schmidt Silva Singh Tanaka Traore Wang Yilmaz
Zhang""".split()  # noqa: SIM905
TAGS = ["beta-tester", "remote", "on-call", "billing", "field-team", "contractor"]


async def seed(app: Service) -> None:
    """Fill the users of a new service; one that has users keeps them as they are."""
    users = app.running.manager("users")
    if not await users.count():
        # Another process may have been faster: e-mails are unique, so everybody is stored once.
        with suppress(Conflict):
            await users.save_all([users.resource.entity(**person) for person in people()])


def people() -> Iterator[dict[str, Any]]:
    """Always the same people; their roles, ages and last logins are spread as in a real service."""
    random = Random(300)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    names = random.sample([f"{given} {family}" for given in GIVEN for family in FAMILY], COUNT)
    for name in names:
        is_active = random.random() < 0.85
        has_logged_in = random.random() < (0.9 if is_active else 0.4)
        yield {
            "name": name,
            "email": f"{name.lower().replace(' ', '.')}@example.com",
            "role": random.choices(["viewer", "editor", "admin"], [75, 20, 5])[0],
            "is_active": is_active,
            "age": random.randint(18, 79) if random.random() < 0.8 else None,
            "last_login_at": noon - timedelta(minutes=random.randrange(365 * 24 * 60)) if has_logged_in else None,
            "tags": random.sample(TAGS, random.choice([0, 0, 1, 1, 2])),
        }
