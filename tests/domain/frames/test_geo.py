"""GeoJSON: what clients send is read, and what is wrong with it is said where it is wrong."""

from typing import Any

import msgspec
import pytest

from domain.errors import InvalidBody
from domain.frames import FeatureCollection, bounding_box, check_geo, decode_geo, geo_errors

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
OPEN = SQUARE[:4]


def feature(geometry: Any, **members: Any) -> dict[str, Any]:
    """A feature with a geometry."""
    return {"type": "Feature", "geometry": geometry, "properties": {}, **members}


def collection(*features: Any, **members: Any) -> dict[str, Any]:
    """A collection of features."""
    return {"type": "FeatureCollection", "features": list(features), **members}


def shape(kind: str, coordinates: Any) -> dict[str, Any]:
    """A geometry."""
    return {"type": kind, "coordinates": coordinates}


def test_what_clients_send_is_read_and_written_as_it_was() -> None:
    value = collection(
        feature(
            {"bbox": None, "type": "Polygon", "coordinates": [[[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 0.5]]]},
            bbox=None,
            properties=None,
            id="AN GIANG",
        ),
        feature(None, id=7),
        bbox=None,
    )
    places = decode_geo(value)
    assert msgspec.to_builtins(places) == value
    assert [place.id for place in places.features] == ["AN GIANG", 7]
    assert places.features[0].geometry is not None
    assert places.features[0].geometry.type == "Polygon"


@pytest.mark.parametrize(
    "geometry",
    [
        shape("Point", [1, 2]),
        shape("Point", [1, 2, 3]),
        shape("MultiPoint", [[1, 2]]),
        shape("MultiPoint", []),
        shape("LineString", [[1, 2], [3, 4]]),
        shape("MultiLineString", [[[1, 2], [3, 4]]]),
        shape("Polygon", [SQUARE, SQUARE]),
        shape("MultiPolygon", [[SQUARE], [SQUARE]]),
        {"type": "GeometryCollection", "geometries": [shape("Point", [1, 2])]},
        None,
    ],
)
def test_every_kind_of_geometry_is_known(geometry: Any) -> None:
    decode_geo(collection(feature(geometry)))


@pytest.mark.parametrize(
    "value, loc, message",
    [
        ([], (), "Expected `object`, got `array`"),
        ({"type": "FeatureCollection"}, ("features",), '"features" is required'),
        (collection(type="Feature"), ("type",), "Invalid enum value 'Feature'"),
        (collection(bbox=[1, 2]), ("bbox",), "Expected `array` of length >= 4"),
        (collection(bbox=[1, 2, 3, 4, 5]), ("bbox",), "a bounding box has 4 or 6 numbers, not 5"),
        (collection(feature(None, bbox=[1] * 5)), ("features", 0, "bbox"), "a bounding box has 4 or 6 numbers, not 5"),
        (collection(1), ("features", 0), "Expected `object`, got `int`"),
        (collection({"type": "Feature", "geometry": None}), ("features", 0), "missing required field `properties`"),
        (collection({"geometry": None, "properties": None}), ("features", 0), "missing required field `type`"),
        (
            collection(feature(None), feature(shape("Circle", 1))),
            ("features", 1, "geometry", "type"),
            "Invalid value 'Circle'",
        ),
        (
            collection(feature(shape("Point", [1]))),
            ("features", 0, "geometry", "coordinates"),
            "Expected `array` of length >= 2",
        ),
        (
            collection(feature(shape("Polygon", [SQUARE, [[0, 0], [0, "1"], [1, 1], [0, 0]]]))),
            ("features", 0, "geometry", "coordinates", 1, 1, 1),
            "Expected `float`, got `str`",
        ),
        (
            collection(feature(shape("Polygon", [OPEN]))),
            ("features", 0, "geometry", "coordinates", 0),
            "must end where",
        ),
        (
            collection(feature(shape("MultiPolygon", [[SQUARE], [SQUARE, OPEN]]))),
            ("features", 0, "geometry", "coordinates", 1, 1),
            "must end where",
        ),
        (
            collection(feature({"type": "GeometryCollection", "geometries": [shape("Polygon", [OPEN])]})),
            ("features", 0, "geometry", "geometries", 0, "coordinates", 0),
            "must end where",
        ),
        (
            collection(feature({**shape("Point", [1, 2]), "bbox": [1] * 5})),
            ("features", 0, "geometry", "bbox"),
            "not 5",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_is_wrong(value: Any, loc: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(InvalidBody) as raised:
        decode_geo(value, "geo")
    (error,) = raised.value.errors
    assert error.loc == ("body", "geo", *loc)
    assert message in error.msg


def test_every_wrong_feature_is_named_up_to_a_hundred() -> None:
    assert len(geo_errors(collection(*[feature(1)] * 3, 2))) == 4
    assert len(geo_errors(collection(*[feature(1)] * 1_000))) == 100
    assert geo_errors(collection()) == []


@pytest.mark.parametrize(
    "geometries, box",
    [
        ([], None),
        ([None], None),
        ([shape("MultiPoint", [])], None),
        ([shape("Point", [3, 4])], (3, 4, 3, 4)),
        ([shape("Point", [3, 4]), None, shape("Polygon", [SQUARE])], (0, 0, 3, 4)),
        ([shape("MultiPolygon", [[SQUARE]]), shape("LineString", [[-1, 9], [0, 0, 5]])], (-1, 0, 1, 9)),
        ([{"type": "GeometryCollection", "geometries": [shape("Point", [1, 2])]}], (1, 2, 1, 2)),
    ],
)
def test_a_box_is_around_all_positions(geometries: list[Any], box: Any) -> None:
    assert bounding_box(decode_geo(collection(*map(feature, geometries)))) == box


def test_places_made_in_python_are_checked_too() -> None:
    check_geo(FeatureCollection(type="FeatureCollection", features=[], bbox=[1.0, 2.0, 3.0, 4.0]))
