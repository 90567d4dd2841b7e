"""Which column of a table of interactions holds what."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from gcl.core.errors import DataError
from gcl.data.table_header import is_number

# Names in order of preference, lower case, with "_" for "-" and blanks; RecBole's types ("user_id:token") are cut off.
ROLES: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "userid", "uid", "user", "users", "reviewer_id", "reviewerid", "customer_id", "customer"),
    "item": (
        *("item_id", "itemid", "iid", "item", "items", "movie_id", "movieid", "movie", "product_id", "productid"),
        *("product", "book_id", "book", "business_id", "artist_id", "artistid", "artist", "track_id", "song_id"),
        *("article_id", "video_id", "game_id", "recipe_id", "location_id", "poi_id", "venue_id", "asin", "isbn"),
    ),
    "rating": ("rating", "ratings", "score", "stars", "overall", "book_rating"),
    "time": ("timestamp", "time", "datetime", "date", "unix_timestamp", "unix_time", "unixreviewtime"),
}
POSITIONS = ("user", "item", "rating", "time")  # of a table without a header


def fold_name(name: str) -> str:
    """The form in which column names are compared."""
    return name.strip().split(":", 1)[0].lower().replace("-", "_").replace(" ", "_")


def is_header(
    first: Sequence[str], second: Sequence[str], columns: Mapping[str, str | int], path: str | os.PathLike[str]
) -> bool:
    """Whether the first line of a text table names its columns.

    It does where it has a name that ``columns`` asks for or that is usual for a user or an item, or where it has no
    number at all above a line that has one. One usual name alone may as well be an id, such as the item ``book``: then
    :func:`find_columns` refuses the line as a header, unless the other column is given by its position.

    Raises:
        DataError: one usual name alone, and the other column is given by its position.
    """
    has_number = any(is_number(cell) for cell in first)
    if any(column in first for column in columns.values()):
        return True
    if not has_number and any(is_number(cell) for cell in second):
        return True
    names = {role: next((cell for cell in first if fold_name(cell) in ROLES[role]), None) for role in ("user", "item")}
    found = {role: name for role, name in names.items() if name is not None}
    if len(found) != 1 or not all(isinstance(columns.get(role), int) for role in names.keys() - found):
        return bool(found)
    if has_number:
        return False
    raise DataError(
        f"the first line of {path} has {next(iter(found.values()))!r}, which may name a column or be an id; say which "
        'by interactions={"header": true} or false'
    )


def find_columns(
    names: list[str] | None,
    width: int,
    columns: Mapping[str, str | int],
    needed: Sequence[str],
    path: str | os.PathLike[str],
) -> dict[str, int]:
    """The position of user, item and each needed role.

    Args:
        names: the header; ``None`` = there is none, and columns are user, item, rating and time in this order.
        width: columns of the table.
        columns: what the user says, by role: a name, or a position from 0.
        needed: roles besides user and item that are looked for; only those that are found are in the result.
        path: the file, for messages.

    Raises:
        DataError: no column for a user or an item, one that is absent or there twice, or two roles of one column.
    """
    found: dict[str, int] = {}
    if names is None and width > len(POSITIONS) and not {"user", "item"} <= set(columns):
        raise DataError(
            f"{path} has {width} columns and no header; say which hold what, as in "
            'interactions={"columns": {"user": 0, "item": 1}}'
        )
    for role in ("user", "item", *needed):
        if role in columns:
            found[role] = _given(names, width, role, columns[role], path)
        else:
            at = _usual(names, width, role, set(columns.values()))
            if at is not None:
                found[role] = at
            elif role in ("user", "item"):
                have = f"the columns {', '.join(names)}" if names else f"{width} column{'s' if width > 1 else ''}"
                raise DataError(
                    f"{path} has {have} and none that is known to hold the {role}; name it, as in "
                    f'interactions={{"columns": {{"{role}": "NAME"}}}}'
                    + (', or give "header": False if these are no names' if names else "")
                )
    for role, at in found.items():
        if names and names.count(names[at]) > 1 and not isinstance(columns.get(role), int):
            raise DataError(
                f"{path} has {names.count(names[at])} columns {names[at]!r}; give the {role} by its position"
            )
        twin = next((other for other in found if other != role and found[other] == at), None)
        if twin is not None:
            raise DataError(f"{path} has the {role} and the {twin} in one column, number {at + 1}; give them another")
    return found


def _given(names: Sequence[str] | None, width: int, role: str, column: str | int, path: str | os.PathLike[str]) -> int:
    if isinstance(column, str):
        exact = [at for at, name in enumerate(names or ()) if name == column]
        alike = exact or [at for at, name in enumerate(names or ()) if fold_name(name) == fold_name(column)]
        if not alike:
            have = f"the columns {', '.join(names)}" if names else "no header"
            raise DataError(f"{path} has no column {column!r} for the {role}; it has {have}")
        return alike[0]
    if not 0 <= column < width:
        raise DataError(f"{path} has no column {column} for the {role}; its {width} columns are 0 to {width - 1}")
    return column


def _usual(names: Sequence[str] | None, width: int, role: str, taken: set[str | int]) -> int | None:
    """Where a role is by its usual name or, without a header, by position."""
    if names is None:
        at = POSITIONS.index(role)
        return at if at < width and at not in taken else None
    folded = [fold_name(name) for name in names]
    free = [name for name in ROLES[role] if name in folded and names[folded.index(name)] not in taken]
    return folded.index(free[0]) if free else None
