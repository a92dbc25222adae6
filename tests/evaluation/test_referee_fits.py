import pytest
import torch

from tritonexp import config, operations
from tritonexp.errors import ConfigError, DoesNotFitError
from tritonexp.evaluation import Referee
from tritonexp.records import Gpu
from tritonexp.study import referee_arguments

CARD = Gpu(
    name="a card of 24 GiB",
    uuid="GPU-0",
    compute_capability="8.6",
    sm_count=82,
    memory_bytes=24 << 30,
    l2_bytes=6 << 20,
    shared_memory_per_block_bytes=101_376,
    driver=None,
)


@pytest.fixture
def referee(monkeypatch):
    """A referee of a given size that takes itself to be on a card with so many bytes free."""

    def opened(extents, free_bytes):
        operation = operations.load("softmax")
        arguments = referee_arguments(config.compose([f"sizes.custom=[{extents}]"]), operation)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free_bytes, CARD.memory_bytes))
        found = Referee(**arguments)
        monkeypatch.setattr(found, "gpu", CARD)
        return found

    return opened


def test_size_beyond_the_free_memory_is_refused_with_the_bytes(referee):
    """What is needed and what is free are told before anything runs, and what to do about it."""
    with (
        referee([65536, 65536], 8 << 30) as opened,
        pytest.raises(
            DoesNotFitError,
            match=r"65536x65536 needs about [\d,]{14,} bytes .*has 8,589,934,592 bytes free",
        ),
    ):
        opened.check_fits()


def test_size_that_fits_is_let_through(referee):
    """The study's largest size fits a card with 20 GiB free."""
    with referee([4096, 4096], 20 << 30) as opened:
        opened.check_fits()


def test_size_beyond_what_the_operation_serves_is_refused():
    """A size that no kernel was told to serve is a mistake of the command line."""
    operation = operations.load("softmax")
    with pytest.raises(ConfigError, match=r"cols=65537, beyond the largest .*\(65536\)"):
        referee_arguments(config.compose(["sizes.custom=[[1,65537]]"]), operation)
