"""Transformations: data in, a document out, at the moment somebody asks for it."""

from domain.transformations.definition import Transformation, defined
from domain.transformations.keys import content_key
from domain.transformations.router import TransformationRouter

__all__ = ["Transformation", "TransformationRouter", "content_key", "defined"]
