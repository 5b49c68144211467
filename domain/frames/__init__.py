"""The interchange format for tables and places: frames, what describes them, GeoJSON and sample data."""

from domain.frames.frame import DataFrame
from domain.frames.generator import (
    PredictSample,
    SampleOptions,
    TrainSample,
    sample_geo,
    sample_predict,
    sample_train,
)
from domain.frames.geo import Feature, FeatureCollection, bounding_box, check_geo, decode_geo, geo_errors
from domain.frames.grouping import GroupBy
from domain.frames.periods import PeriodKind, periods
from domain.frames.sample_config import sample_config
from domain.frames.schema import KNOWN_TYPES, ColumnType, FieldSchema, FrameSchema
from domain.frames.structure import Frame, InvalidFrame, check_structure, structure_errors
from domain.frames.wire import encode_frame

__all__ = [
    "KNOWN_TYPES",
    "ColumnType",
    "DataFrame",
    "Feature",
    "FeatureCollection",
    "FieldSchema",
    "Frame",
    "FrameSchema",
    "GroupBy",
    "InvalidFrame",
    "PeriodKind",
    "PredictSample",
    "SampleOptions",
    "TrainSample",
    "bounding_box",
    "check_geo",
    "check_structure",
    "decode_geo",
    "encode_frame",
    "geo_errors",
    "periods",
    "sample_config",
    "sample_geo",
    "sample_predict",
    "sample_train",
    "structure_errors",
]
