"""How interactions are read, filtered and split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcl.core.errors import ConfigError, unknown
from gcl.data.interaction_columns import ROLES

SPLITS = ("auto", "stored", "ratio", "leave-one-out", "time")
LAYOUTS = ("auto", "table", "lists")


@dataclass(frozen=True)
class InteractionOptions:
    """The settings of ``load_dataset(..., interactions=...)``; applied in this order.

    Args:
        columns: where a table has what, by role (``user``, ``item``, ``rating``, ``time``): the name in the header, or
            the position from 0. Roles left out are found by their usual names, or without a header by position.
        header: whether the first line of a text table names its columns; ``None`` = it is looked at.
        layout: of text without a header between blanks: ``table`` (one interaction a line), ``lists`` (a user and all
            its items a line, as in LightGCN's files), or ``auto``: a table where a user has several lines.
        min_rating: interactions rated below it are left out; ``None`` = all count, and ratings are not read.
        k_core: users and items with fewer interactions are left out, again and again until there are none; one number,
            or one for users and one for items; ``None`` = all stay.
        split: ``stored`` keeps the parts of the source; ``ratio``, ``leave-one-out`` and ``time`` make new ones of all
            interactions (:mod:`gcl.data.interaction_splits`); ``auto`` is ``stored`` where the source has parts, else
            ``ratio``.
        fractions: shares of train, validation and test under ``ratio`` and ``time``.
        seed: of the splits, 0 to 2**32 - 1.
        validation: share of the training interactions of each user that become the validation part, where there is
            none after the split (:func:`gcl.data.carve_validation.carve_validation`); ``None`` = none is made.

    Raises:
        ConfigError: a value that is none of these.
    """

    columns: Mapping[str, str | int] = field(default_factory=dict)
    header: bool | None = None
    layout: str = "auto"
    min_rating: float | None = None
    k_core: int | Sequence[int] | None = None
    split: str = "auto"
    fractions: Sequence[float] = (0.8, 0.1, 0.1)
    seed: int = 0
    validation: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping):
            raise ConfigError(f"columns must be a mapping from a role to a column, got {self.columns!r}")
        for role, column in self.columns.items():
            if role not in ROLES:
                raise ConfigError(unknown("role of a column", str(role), ROLES))
            if isinstance(column, bool) or not isinstance(column, str | int):
                raise ConfigError(f"the column of {role} must be a name or a position from 0, got {column!r}")
        if self.header not in (None, True, False):
            raise ConfigError(f"header must be true, false or null, got {self.header!r}")
        for name, value, choices in (("layout", self.layout, LAYOUTS), ("split", self.split, SPLITS)):
            if value not in choices:
                raise ConfigError(unknown(name, str(value), choices))
        if self.min_rating is not None and not _is_finite(self.min_rating):
            raise ConfigError(f"min_rating must be a number, got {self.min_rating!r}")
        core_numbers(self.k_core)
        check_fractions(self.fractions)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be a whole number from 0 to 2**32 - 1, got {self.seed!r}")
        if self.validation is not None and not (_is_finite(self.validation) and 0 < self.validation < 1):
            raise ConfigError(f"validation must be a fraction between 0 and 1, got {self.validation!r}")

    @classmethod
    def of(cls, options: InteractionOptions | Mapping[str, Any] | None) -> InteractionOptions:
        """Options from a mapping of settings; ``None`` = the defaults.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        if options is None or isinstance(options, InteractionOptions):
            return options or cls()
        if not isinstance(options, Mapping):
            raise ConfigError(f"interactions must be a mapping of settings, got {options!r}")
        known = {field.name for field in dataclasses.fields(cls)}
        for key in options:
            if key not in known:
                raise ConfigError(unknown("setting of interactions", str(key), known))
        return cls(**options)

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, such as JSON holds."""
        record = dataclasses.asdict(self)
        record["columns"] = dict(self.columns)
        record["fractions"] = list(self.fractions)
        record["k_core"] = list(self.k_core) if isinstance(self.k_core, Sequence) else self.k_core
        return record

    @property
    def needed(self) -> tuple[str, ...]:
        """The roles of columns that are read though no graph holds them."""
        rating = ("rating",) if self.min_rating is not None else ()
        return (*rating, "time") if self.split in ("time", "leave-one-out") else rating


def core_numbers(k_core: Any) -> tuple[int, int]:
    """Least interactions of a user and of an item, checked; 0 = any number.

    Raises:
        ConfigError: not one or two whole numbers from 0.
    """
    numbers = tuple(k_core) if isinstance(k_core, Sequence) and not isinstance(k_core, str) else (k_core, k_core)
    if k_core is None:
        return 0, 0
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    if len(numbers) != 2 or not whole:
        raise ConfigError(f"k_core must be a whole number from 0, or two of them (users, items), got {k_core!r}")
    return numbers


def check_fractions(fractions: Any) -> tuple[float, float, float]:
    """Shares of train, validation and test, checked.

    Raises:
        ConfigError: not three numbers from 0 that add up to 1 with a training share above 0.
    """
    shares = tuple(fractions) if isinstance(fractions, Sequence) and not isinstance(fractions, str) else ()
    if len(shares) != 3 or not all(_is_finite(share) and share >= 0 for share in shares) or shares[0] <= 0:
        raise ConfigError(
            f"fractions must be the shares of train, validation and test, such as [0.8, 0.1, 0.1], got {fractions!r}"
        )
    if abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"fractions must add up to 1, got {fractions!r}, which add up to {sum(shares):g}")
    return shares[0], shares[1], shares[2]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
