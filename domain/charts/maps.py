"""Choropleths: a number for each place, as the colour of its area."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from domain.charts.descriptions import counted, extent, number, sentence
from domain.charts.grammar import Spec, spoken
from domain.charts.kinds import refused
from domain.charts.layers import composed
from domain.charts.requests import DEFAULT_HEIGHT, DEFAULT_WIDTH
from domain.errors import Invalid, cut
from domain.frames import Feature, FeatureCollection

ID = "id"
_UNKNOWN = "#dddddd"


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A number for each location: what it is, and when."""

    values: Mapping[str, float | None]
    target: str
    period: str | None = None


def choropleth(
    found: Located,
    places: FeatureCollection,
    *,
    key: str | None = None,
    title: str | None = None,
    width: int | None = None,
    height: int | None = None,
) -> Spec:
    """The map of numbers by location, each of which is the `key` of a feature: its id, or one of its properties.

    Without `key` it is what most locations are found by. Places without a number are grey, and numbers without a place
    are counted in the description. Raises `Invalid` when no location is found.
    """
    areas = [feature for feature in places.features if feature.geometry is not None]
    name = key or _best_key(areas, found.values)
    matched = [str(_named(feature, name)) for feature in areas]
    if not set(matched) & found.values.keys():
        some, others = ", ".join(map(cut, list(found.values)[:3])), ", ".join(map(cut, matched[:3]))
        raise refused(f"No location ({some}, …) is the {cut(name)} of a place ({others}, …)", "key", key)
    values = [
        {
            "type": "Feature",
            "geometry": _clockwise(msgspec.to_builtins(feature.geometry)),
            "location": place,
            "value": found.values.get(place),
        }
        for feature, place in zip(areas, matched, strict=True)
    ]
    colour = {"field": "value", "type": "quantitative", "title": spoken(found.target), "scale": {"scheme": "blues"}}
    tooltip = [{"field": "location", "type": "nominal"}, {"field": "value", "type": "quantitative"}]
    return composed(
        values,
        _described(found, matched),
        title,
        width=width or DEFAULT_WIDTH,
        height=height or DEFAULT_HEIGHT,
        projection={"type": "mercator"},
        mark={"type": "geoshape", "stroke": "#ffffff", "strokeWidth": 0.7, "invalid": "show"},
        encoding={"color": colour, "tooltip": tooltip},
        config={"scale": {"invalid": {"color": {"value": _UNKNOWN}}}},
    )


def _best_key(areas: Sequence[Feature], values: Mapping[str, Any]) -> str:
    names = dict.fromkeys([ID, *(name for feature in areas[:100] for name in feature.properties or {})])
    return max(names, key=lambda name: sum(str(_named(feature, name)) in values for feature in areas))


def _named(feature: Feature, name: str) -> Any:
    own = getattr(feature, "id", None) if name == ID else None
    return own if isinstance(own, str | int | float) else (feature.properties or {}).get(name)


def _clockwise(geometry: Any) -> Any:
    """A geometry whose outer rings run as the projection wants them, which is not as GeoJSON does.

    A ring the other way round would be everything but the place.
    """
    kind = geometry["type"]
    if kind == "Polygon":
        return {**geometry, "coordinates": _wound(geometry["coordinates"])}
    if kind == "MultiPolygon":
        return {**geometry, "coordinates": [_wound(rings) for rings in geometry["coordinates"]]}
    if kind == "GeometryCollection":
        return {**geometry, "geometries": [_clockwise(part) for part in geometry["geometries"]]}
    return geometry


def _wound(rings: Sequence[Sequence[Sequence[float]]]) -> list[Any]:
    return [
        list(ring) if (_area(ring) < 0) == (index == 0) else list(reversed(ring)) for index, ring in enumerate(rings)
    ]


def _area(ring: Sequence[Sequence[float]]) -> float:
    """Twice the area within a ring, negative when it runs clockwise."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))


def _described(found: Located, matched: Sequence[str]) -> str:
    known = {name: value for name, value in found.values.items() if value is not None and name in set(matched)}
    if not known:
        raise Invalid(f"None of the places has a number of {found.target}")
    highest, lowest = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    without, unplaced = len(matched) - len(known), len(found.values.keys() - set(matched))
    return sentence(
        f"Map of {found.target}{f' in {found.period}' if found.period else ''}",
        f"{counted(len(known), 'place')}, {extent(known.values())}",
        f"Highest in {cut(highest)} ({number(known[highest])}), lowest in {cut(lowest)} ({number(known[lowest])})",
        f"{counted(without, 'place')} without a number" if without else "",
        f"{counted(unplaced, 'location')} not on the map" if unplaced else "",
    )
