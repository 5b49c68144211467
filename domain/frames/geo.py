"""Places: GeoJSON (RFC 7946) as models get it, checked strictly."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.errors import MOST_ERRORS, FieldError
from domain.validation import invalid_fields, problem, rejected

Position = Annotated[list[float], Meta(min_length=2, description="a position of at least 2 numbers")]
Line = Annotated[list[Position], Meta(min_length=2)]
Ring = Annotated[list[Position], Meta(min_length=4, description="a closed ring of at least 4 positions")]
BoundingBox = Annotated[list[float], Meta(min_length=4, max_length=6)]


class _Geometry(msgspec.Struct, tag_field="type", tag=True, kw_only=True, omit_defaults=True):
    bbox: BoundingBox | UnsetType | None = UNSET

    @property
    def type(self) -> str:
        """The kind of geometry."""
        return type(self).__name__


class Point(_Geometry, kw_only=True):
    """One position."""

    coordinates: Position


class MultiPoint(_Geometry, kw_only=True):
    """Several positions."""

    coordinates: list[Position]


class LineString(_Geometry, kw_only=True):
    """A line of two positions or more."""

    coordinates: Line


class MultiLineString(_Geometry, kw_only=True):
    """Several lines."""

    coordinates: list[Line]


class Polygon(_Geometry, kw_only=True):
    """An area: its outer ring and its holes."""

    coordinates: list[Ring]


class MultiPolygon(_Geometry, kw_only=True):
    """Several areas."""

    coordinates: list[list[Ring]]


class GeometryCollection(_Geometry, kw_only=True):
    """Geometries of any kind."""

    geometries: list["Geometry"]


Geometry = Point | MultiPoint | LineString | MultiLineString | Polygon | MultiPolygon | GeometryCollection


class Feature(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One place: where it is, which may be unknown, and what is known of it. Clients name it by `id` or in its
    properties."""

    type: Literal["Feature"]
    geometry: Geometry | None
    properties: dict[str, Any] | None
    id: str | int | float | UnsetType | None = UNSET
    bbox: BoundingBox | UnsetType | None = UNSET


class FeatureCollection(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The places a request is about. Members that GeoJSON does not know are ignored."""

    type: Literal["FeatureCollection"]
    features: list[Feature]
    bbox: BoundingBox | UnsetType | None = UNSET


def decode_geo(value: Any, *path: str | int) -> FeatureCollection:
    """The collection that decoded JSON is. Raises `InvalidBody` with where it breaks; `path` says where it was."""
    try:
        places = msgspec.convert(value, FeatureCollection)
    except msgspec.ValidationError:
        raise rejected(geo_errors(value, *path)) from None
    check_geo(places, *path)
    return places


def geo_errors(value: Any, *path: str | int) -> list[FieldError]:
    """Every reason why decoded JSON is no collection, one for each feature and at most 100, each with its place."""
    if not isinstance(value, Mapping) or not isinstance(features := value.get("features"), list):
        found = invalid_fields(value, FeatureCollection)
        return [problem(error.type, error.msg, (*path, *error.loc[1:]), error.input) for error in found]
    around = _faults({**value, "features": []}, FeatureCollection, path)
    inside = (_faults(feature, Feature, (*path, "features", index)) for index, feature in enumerate(features))
    return list(islice(chain(around, chain.from_iterable(inside)), MOST_ERRORS))


_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def _faults(value: Any, kind: Any, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        steps = (int(index) if index else name for name, index in _STEP.findall(place.rstrip("`")))
        yield problem("value_error", message, (*path, *steps), UNSET)


def check_geo(places: FeatureCollection, *path: str | int) -> None:
    """Raise `InvalidBody` for what types cannot say: rings that are not closed, a bounding box of 5 numbers."""
    if errors := list(islice(_loose_ends(places, path), MOST_ERRORS)):
        raise rejected(errors)


def _loose_ends(places: FeatureCollection, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    yield from _odd_box(places, path)
    for index, feature in enumerate(places.features):
        yield from _odd_box(feature, (*path, "features", index))
        yield from _open_rings(feature.geometry, (*path, "features", index, "geometry"))


def _odd_box(part: Any, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    if part.bbox and len(part.bbox) == 5:
        yield problem("value_error", "a bounding box has 4 or 6 numbers, not 5", (*path, "bbox"), part.bbox)


def _open_rings(geometry: Geometry | None, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    if geometry is None:
        return
    yield from _odd_box(geometry, path)
    if isinstance(geometry, GeometryCollection):
        for index, part in enumerate(geometry.geometries):
            yield from _open_rings(part, (*path, "geometries", index))
        return
    polygons: Iterable[tuple[tuple[str | int, ...], list[Any]]] = ()
    if isinstance(geometry, Polygon):
        polygons = [((), geometry.coordinates)]
    elif isinstance(geometry, MultiPolygon):
        polygons = [((index,), rings) for index, rings in enumerate(geometry.coordinates)]
    for within, rings in polygons:
        for index, ring in enumerate(rings):
            if ring[0] != ring[-1]:
                place = (*path, "coordinates", *within, index)
                yield problem("value_error", "a ring must end where it begins", place, UNSET)


def bounding_box(places: FeatureCollection) -> tuple[float, float, float, float] | None:
    """West, south, east and north of all positions; None when there are none."""
    found = [spot for feature in places.features for spot in _positions(feature.geometry)]
    if not found:
        return None
    longitudes, latitudes = [spot[0] for spot in found], [spot[1] for spot in found]
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def _positions(geometry: Geometry | None) -> Iterator[list[float]]:
    if isinstance(geometry, GeometryCollection):
        for part in geometry.geometries:
            yield from _positions(part)
    elif geometry is not None:
        yield from _flat(geometry.coordinates)


def _flat(coordinates: Any) -> Iterator[list[float]]:
    if coordinates and not isinstance(coordinates[0], list):
        yield coordinates
        return
    for part in coordinates:
        yield from _flat(part)
