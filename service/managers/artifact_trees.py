"""Trees of artifacts: how they are shown, and how they keep their shape whatever happens side by side."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from domain.artifacts import Artifact, Node
from domain.bodies import decode_object
from domain.entity import now_utc, parse_id, version_after
from domain.errors import Conflict, Invalid, NotFound
from domain.hierarchy import MOST_LEVELS, ArtifactHierarchy, Place, below, children_of, places
from domain.ports import ArtifactRows, Clock, ConfigLinks, Repository, Transactions
from service.managers.hooks import Change, Hooks


class ArtifactTrees:
    """The trees of a service.

    Whoever moves or removes something has all trees to himself; others may add and link side by side. That is asked
    for before any row is locked, so nobody waits in a circle.
    """

    def __init__(
        self,
        repository: Repository[Artifact],
        transactions: Transactions,
        rows: ArtifactRows,
        links: ConfigLinks,
        hierarchy: ArtifactHierarchy | None,
        uses: Hooks[Artifact] | None = None,
    ) -> None:
        self.hierarchy = hierarchy
        self._repository = repository
        self._transactions = transactions
        self._rows = rows
        self._links = links
        self._uses = uses

    @asynccontextmanager
    async def growing(self) -> AsyncIterator[None]:
        """A transaction during which nothing is moved or removed; others may add and link meanwhile."""
        async with self._transactions.transaction():
            await self._rows.keep_shape()
            yield

    @asynccontextmanager
    async def reshaping(self) -> AsyncIterator[None]:
        """A transaction during which nobody else adds, links, moves or removes anything."""
        async with self._transactions.transaction():
            await self._rows.change_shape()
            yield

    async def delete(self, root_ids: Sequence[str]) -> None:
        """Remove whole trees, while reshaping."""
        ids = list(await self._rows.parents(root_ids))
        if self._uses is not None:
            await self._uses.pre_delete(await self._repository.find_many(ids, lock=True))
        await self._links.forget([*root_ids, *ids])
        await self._repository.delete(ids)

    # How they are shown

    async def expanded(self, artifact: Artifact) -> dict[str, Any]:
        """One artifact without its content, with what its level is called."""
        rows = await self._shown([artifact.id])
        return self._node(_there(rows, artifact.id), None).shown()

    async def tree(self, artifact: Artifact) -> dict[str, Any]:
        """An artifact and everything below it, without content."""
        parents = await self._rows.parents([artifact.root_id or artifact.id])
        rows = await self._shown(below(artifact.id, parents))
        _there(rows, artifact.id)
        # As the rows have it, for something may have been moved or removed since.
        found = {id: row["parent_id"] for id, row in rows.items()}
        ids = below(artifact.id, found)
        children = children_of(found, ids)
        nodes: dict[str, Node] = {}
        # From the leaves up, so that no tree is too deep for it.
        for current in reversed(ids):
            nodes[current] = self._node(rows[current], [nodes[child] for child in children[current]])
        return nodes[artifact.id].shown()

    async def _shown(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        rows = [decode_object(document) for document in await self._repository.documents(ids)]
        return {row["id"]: row for row in rows}

    def _node(self, row: dict[str, Any], children: list[Node] | None) -> Node:
        hierarchy = self.hierarchy
        label = hierarchy.label(row["level"]) if hierarchy is not None else None
        return Node(row, label, hierarchy.name if hierarchy is not None else None, children)


class Shape(Hooks[Artifact]):
    """Keeps levels and roots right, whatever is put where, moved or taken away."""

    def __init__(
        self, repository: Repository[Artifact], rows: ArtifactRows, links: ConfigLinks, clock: Clock = now_utc
    ) -> None:
        self._repository = repository
        self._rows = rows
        self._links = links
        self._clock = clock

    async def pre_save(self, entities: Sequence[Artifact]) -> None:
        if any(artifact.parent_id is not None for artifact in entities):
            await self._rows.keep_shape()
        for artifact in entities:
            parent = await self._parent(artifact.parent_id)
            # An id may be sent in either case.
            artifact.parent_id = None if parent is None else parent.id
            artifact.level = 0 if parent is None else parent.level + 1
            artifact.root_id = artifact.id if parent is None else parent.root_id
            if artifact.level >= MOST_LEVELS:
                raise Invalid(f"An artifact below {artifact.parent_id} would stand on level {artifact.level}: too deep")

    async def pre_update(self, changes: Sequence[Change[Artifact]]) -> None:
        for change in changes:
            if "parent_id" in change.fields:
                await self._move(change.before, change.after)

    async def pre_delete(self, entities: Sequence[Artifact]) -> None:
        gone = {artifact.id for artifact in entities}
        parents = await self._rows.parents(sorted({artifact.root_id or artifact.id for artifact in entities}))
        orphaned = {id: parents[id] for top in gone for id in below(top, parents) if id not in gone}
        await self._place(places(orphaned))
        await self._links.forget(sorted(gone))

    async def _parent(self, id: str | None) -> Artifact | None:
        if id is None:
            return None
        parent = await self._repository.find(parse_id(id) or "")
        if parent is None:
            raise Conflict(f"There is no artifact {id} to be the parent", extensions={"constraint": "foreign_key"})
        return parent

    async def _move(self, before: Artifact, after: Artifact) -> None:
        parent = await self._parent(after.parent_id)
        after.parent_id = None if parent is None else parent.id
        roots = {before.root_id or before.id, *([parent.root_id or parent.id] if parent is not None else [])}
        parents = await self._rows.parents(sorted(roots))
        parents[before.id] = after.parent_id
        try:
            found = places(parents)
        except Invalid as error:
            raise Invalid(f"Artifact {before.id} cannot be moved under {after.parent_id}: {error.detail}") from None
        await self._place({id: found[id] for id in below(before.id, parents)[1:]})
        after.level, after.root_id = found[before.id].level, found[before.id].root_id
        if after.parent_id is not None:
            # Only roots belong to configurations.
            await self._links.forget([before.id])

    async def _place(self, found: Mapping[str, Place]) -> None:
        """Write where artifacts stand now; those that stood elsewhere read differently, so they are a new version."""
        now = self._clock()
        for artifact in await self._repository.find_many(list(found), lock=True):
            place = found[artifact.id]
            if place != Place(artifact.parent_id, artifact.level, artifact.root_id or artifact.id):
                changed = {"parent_id": place.parent_id, "level": place.level, "root_id": place.root_id}
                await self._repository.update(
                    artifact.id, {**changed, "updated_at": version_after(artifact.updated_at, now)}
                )


def _there(rows: Mapping[str, dict[str, Any]], id: str) -> dict[str, Any]:
    if id not in rows:
        raise NotFound(f"Entity with id {id} not found")
    return rows[id]
