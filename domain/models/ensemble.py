"""Several models as one."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from domain.configs import BaseConfig
from domain.ensembles import Strategy
from domain.errors import Misconfigured
from domain.models.base import BaseModelRunner
from domain.models.functional import FunctionalModelRunner
from domain.models.remote import RemoteModelRunner
from domain.models.shell import ShellModelRunner

MemberRunner = BaseModelRunner | FunctionalModelRunner | ShellModelRunner | RemoteModelRunner
MOST_MEMBERS = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class EnsembleConfig(BaseConfig, kw_only=True):
    """A configuration that chooses among the members of an ensemble, all of them when it names none."""

    members: list[str] = msgspec.field(default_factory=list)


class EnsembleRunner:
    """Several models that are trained side by side, and whose forecasts become one.

    `members` are models by name: functions, classes, scripts, or those of other services. All get the same
    configuration; a field `members` of it, as `EnsembleConfig` has it, chooses among them. `strategy` says how
    forecasts are combined, `trim` which share of the members `trimmed` leaves out on either side, `samples` how many
    samples come out (as many as the member that has the most), drawn by `seed`.

    `weights` are those of the members by name, equal without; `"learned"` holds the last periods of the training data
    back, as many as are to be predicted, and weighs every member by the inverse of its error there.

    A member that fails, or takes longer than `member_timeout_seconds`, is left out, and the others get its weight; the
    artifact says so. With less than `min_members` (all of them) the whole run fails. `target` is the column that is
    forecast. Raises `Misconfigured`.
    """

    def __init__(
        self,
        members: Mapping[str, MemberRunner],
        strategy: Strategy | str,
        *,
        weights: Mapping[str, float] | Literal["learned"] | None = None,
        min_members: int | None = None,
        member_timeout_seconds: float | None = None,
        trim: float = 0.25,
        samples: int | None = None,
        seed: int = 0,
        target: str = "disease_cases",
    ) -> None:
        self.members = dict(members)
        self.strategy = _strategy(strategy)
        self.weights = dict(weights) if isinstance(weights, Mapping) else weights
        self.min_members = min_members
        self.member_timeout_seconds = member_timeout_seconds
        self.trim = trim
        self.samples = samples
        self.seed = seed
        self.target = target
        _check(self)

    def chosen(self, names: Sequence[str]) -> dict[str, MemberRunner]:
        """The members with these names, all without any. Raises `ValueError` for one that there is not."""
        for name in names:
            if name not in self.members:
                raise ValueError(f'the ensemble has no member "{name}"; there are: {", ".join(self.members)}')
        return {name: runner for name, runner in self.members.items() if not names or name in names}

    def least(self, chosen: int) -> int:
        """How many of the chosen members must succeed."""
        return chosen if self.min_members is None else min(self.min_members, chosen)


def _strategy(strategy: Strategy | str) -> Strategy:
    try:
        return Strategy(strategy)
    except ValueError:
        raise Misconfigured(f"EnsembleRunner(strategy={strategy!r}): use one of {', '.join(Strategy)}") from None


def _check(runner: EnsembleRunner) -> None:
    where = "EnsembleRunner"
    if not 1 <= len(runner.members) <= MOST_MEMBERS:
        raise Misconfigured(f"{where}: it has {len(runner.members)} members; 1 to {MOST_MEMBERS} are allowed")
    for name, member in runner.members.items():
        if not _NAME.fullmatch(name):
            raise Misconfigured(f"{where}: member {name!r}: names are letters, digits, '-' and '_', at most 64")
        if not isinstance(member, MemberRunner):
            raise Misconfigured(f"{where}: member {name!r} is {member!r}, which is no runner of a model")
    if isinstance(runner.weights, dict):
        _check_weights(runner.weights, runner.members)
    elif runner.weights not in {None, "learned"}:
        raise Misconfigured(f"{where}(weights={runner.weights!r}): give numbers by member, 'learned', or nothing")
    if runner.weights is not None and runner.strategy in {Strategy.MEAN, Strategy.TRIMMED}:
        raise Misconfigured(f"{where}: {runner.strategy} takes no notice of weights; use weighted or median")
    if runner.min_members is not None and not 1 <= runner.min_members <= len(runner.members):
        raise Misconfigured(f"{where}(min_members={runner.min_members}): from 1 to {len(runner.members)}")
    if not 0 <= runner.trim < 0.5:
        raise Misconfigured(f"{where}(trim={runner.trim}): at least 0 and less than 0.5")
    for option in ("member_timeout_seconds", "samples"):
        value = getattr(runner, option)
        if value is not None and not value > 0:
            raise Misconfigured(f"{where}({option}={value}): more than 0, or None")


def _check_weights(weights: Mapping[str, float], members: Mapping[str, object]) -> None:
    if weights.keys() != members.keys():
        raise Misconfigured(
            f"EnsembleRunner(weights=…): one for each of {', '.join(members)}; got {', '.join(weights)}"
        )
    if not all(weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise Misconfigured(f"EnsembleRunner(weights={dict(weights)}): none below 0, and not all 0")
