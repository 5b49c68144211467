"""MLproject files: what they say, and what is wrong with those that say something else."""

from typing import Any

import pytest

from domain.configs import ConfigSchema
from domain.errors import Misconfigured
from domain.mlproject import config_type, parse_project

PROJECT: dict[str, Any] = {
    "name": "Minimal_example R",
    "user_options": {
        "n-lags": {"type": "integer", "default": 3, "description": "how many"},
        "class": {"type": "string", "default": "a"},
        "2nd": {"type": "float", "default": "1"},
        "needed": {"type": "boolean"},
    },
    "supported_period_type": "month",
    "required_covariates": ["rainfall"],
    "meta_data": {"display_name": "Minimal", "author": "A", "contact_email": "a@b.org"},
    "entry_points": {
        "train": {"command": "Rscript train.R {train_data} {model} {model_config}"},
        "predict": {"command": "Rscript predict.R {model} {historic_data} {future_data} {out_file} {polygons}"},
    },
}


def changed(**members: Any) -> dict[str, Any]:
    return {**PROJECT, **members}


def test_a_project_says_what_there_is_to_know_of_a_model() -> None:
    project = parse_project(PROJECT, {})
    assert project.train_command == "Rscript train.R data.csv model config.yml"
    assert project.predict_command == "Rscript predict.R model historic.csv future.csv predictions.csv geo.json"
    assert (project.info.id, project.info.display_name, project.info.period_type) == (
        "minimal-example-r",
        "Minimal",
        "any",
    )
    assert (project.info.required_covariates, project.config_format) == (["rainfall"], "chap_core")


def test_its_options_are_a_configuration_under_their_own_names() -> None:
    schema = ConfigSchema(config_type(parse_project(PROJECT, {}), __name__))
    stored = schema.stored({"user_option_values": {"needed": True, "n-lags": 5}})
    assert stored == {
        "n-lags": 5,
        "class": "a",
        "2nd": 1.0,
        "needed": True,
        "prediction_periods": 3,
        "additional_continuous_covariates": [],
    }
    typed: Any = schema.typed(stored)
    assert (typed.n_lags, typed.class_, typed._2nd, typed.needed) == (5, "a", 1.0, True)
    assert schema.json_schema()["required"] == ["needed"]


def test_parameters_that_are_not_known_need_a_file() -> None:
    points = {**PROJECT["entry_points"], "train": {"command": "t {trian_data} {own} ${HOME}"}}
    with pytest.raises(Misconfigured, match=r'"trian_data", which stands for no file; did you mean "train_data"\?'):
        parse_project(changed(entry_points=points), {})
    files = {"trian_data": "data.csv", "own": "own.txt", "HOME": "home"}
    assert parse_project(changed(entry_points=points), files).train_command == "t data.csv own.txt $home"
    literal = {**PROJECT["entry_points"], "train": {"command": "awk '{ print }' {train_data}"}}
    assert parse_project(changed(entry_points=literal), {}).train_command.format() == "awk '{ print }' data.csv"


@pytest.mark.parametrize(
    "given, words",
    [
        (None, "holds no mapping"),
        (changed(name=""), "name is missing"),
        (changed(entry_points={}), "entry_points.train.command is missing"),
        (changed(entry_points="x"), "entry_points must be a mapping"),
        (changed(user_options={"a": 3}), "user_options.a must say at least its type"),
        (changed(user_options={"a": {"type": "date"}}), "user_options.a.type is 'date'"),
        (changed(user_options={"a": {"type": "int", "default": "x"}}), "user_options.a.default"),
        (changed(meta_data={"contact_email": "nobody"}), "contact_email is 'nobody'"),
    ],
)
def test_what_cannot_be_served_is_named(given: Any, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        parse_project(given, {})
