from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from ugocc.errors import DataError, told_by_worker


class Broken(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        try:
            raise OSError("cut off")
        except OSError as error:
            raise DataError("manifest.jsonl, line 3", "cameras[0].image", "12 bytes: cut off", "a picture") from error


def test_an_error_of_a_loading_process_is_the_error_again() -> None:
    with pytest.raises(RuntimeError, match="Caught DataError") as raised:
        next(iter(DataLoader(Broken(), num_workers=1)))
    told = told_by_worker(raised.value)
    assert isinstance(told, DataError)
    assert (told.where, told.field) == ("manifest.jsonl, line 3", "cameras[0].image")
    assert (told.found, told.expected) == ("12 bytes: cut off", "a picture")


def test_other_errors_stay_what_they_are() -> None:
    for error in (RuntimeError("out of memory"), ValueError("ugocc.errors.DataError: a: b: found c, expected d")):
        assert told_by_worker(error) is error
