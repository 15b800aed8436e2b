"""Further rows that a workflow reads beside its data: retain rows, fine-tuning targets, teacher's answers, human pairs."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from preflow.settings.data import ImportOptions
from preflow.settings.section import setting

FilePath = Annotated[str, Field(min_length=1)]
Files = Annotated[tuple[FilePath, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class MoreData(ImportOptions):
    """Files with the options of the data section."""

    files: Files = setting(..., "a path, a glob or a list of them", source="yours")
