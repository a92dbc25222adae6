"""The types of conf/: a plain dataclass for each group, and the way from Hydra to them.

Hydra is imported inside the functions, so that reading a configuration costs nothing.
Does not cover what only a GPU or an operation knows, such as whether a size fits: see study.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from tritonexp.config_checks import check, check_keys
from tritonexp.errors import ConfigError
from tritonexp.records import Clock

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"

# what OmegaConf takes for "must be given"
MISSING: Any = "???"


@dataclass
class OperationConfig:
    """What is computed."""

    name: str = MISSING


@dataclass
class ModelConfig:
    """Who writes the kernel."""

    name: str = MISSING
    provider: str = MISSING
    id: Optional[str] = None  # noqa: UP045  # OmegaConf 2.3 wants Optional spelled out
    effort: Optional[str] = None  # noqa: UP045
    max_tokens: int = 32000
    timeout_s: float = 600.0
    parallel: int = 4
    base_url: Optional[str] = None  # noqa: UP045
    api_key_env: str = "ANTHROPIC_API_KEY"
    input_usd_per_mtok: Optional[float] = None  # noqa: UP045
    output_usd_per_mtok: Optional[float] = None  # noqa: UP045
    path: Optional[str] = None  # noqa: UP045
    sample: int = 1


@dataclass
class PromptConfig:
    """What the model is told."""

    name: str = MISSING
    components: list[str] = MISSING


@dataclass
class StrategyConfig:
    """How often the model is asked, and which answer counts."""

    name: str = MISSING
    n: int = 1


@dataclass
class SizesConfig:
    """The problem sizes that are timed."""

    name: str = MISSING
    ladder: list[list[int]] = MISSING
    # a list of lists of whole numbers, or None: Hydra would not say which key is wrong
    custom: Any = None

    @property
    def label(self) -> str:
        """What runs and reports call these sizes."""
        return self.name if self.custom is None else "custom"


@dataclass
class TimingConfig:
    """How times are taken: the fields of records.TimingProtocol."""

    name: str = MISSING
    clock: Clock = MISSING
    rounds: int = MISSING
    max_rounds: int = MISSING
    window_us: float = MISSING
    host_calls: int = MISSING
    cold_factor: float = MISSING
    margin: float = MISSING
    max_clock_disagreement: float = MISSING
    max_fraction_of_ceiling: float = MISSING


@dataclass
class ExpertConfig:
    """The human-written kernel to compare with."""

    name: str = MISSING
    path: Optional[str] = None  # noqa: UP045


@dataclass
class ProfileConfig:
    """The hardware profiler that looks at what was timed; none for none."""

    name: str = MISSING

    @property
    def tool(self) -> str | None:
        """The profiler, where there is one."""
        return None if self.name == "none" else self.name


@dataclass
class TrackingConfig:
    """Where runs are logged."""

    folder: str = MISSING
    experiment: str = MISSING
    uri: Optional[str] = None  # noqa: UP045


@dataclass
class StudyConfig:
    """One job, as conf/ composes it."""

    operation: OperationConfig = field(default_factory=OperationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    sizes: SizesConfig = field(default_factory=SizesConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = MISSING
    contenders: list[str] = MISSING
    sandbox: bool = MISSING


def register() -> None:
    """Tell Hydra the types; conf/config.yaml names them as `schema`."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=StudyConfig)


def typed(composed: DictConfig) -> StudyConfig:
    """Turn what Hydra composed into plain dataclasses.

    Raises ConfigError for a key that is not given or that there is not, and for a value that is not
    allowed.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    given: Any = OmegaConf.to_container(composed, resolve=False)
    check_keys({key: value for key, value in given.items() if key != "hydra"}, StudyConfig)
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        detail = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"the configuration is incomplete: {detail}.") from error
    if not isinstance(config, StudyConfig):
        raise ConfigError("the configuration has no types; list `schema` first in config.yaml.")
    check(config)
    return config


def compose(overrides: list[str], conf_dir: Path = CONF_DIR) -> StudyConfig:
    """Compose outside of run.py, as a command line would; raises ConfigError."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    register()
    try:
        with initialize_config_dir(config_dir=str(conf_dir), version_base="1.3"):
            return typed(hydra_compose("config", overrides=overrides))
    except HydraException as error:
        raise ConfigError(str(error)) from error
