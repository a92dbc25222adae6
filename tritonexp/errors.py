"""The exceptions of the harness itself; a wrong kernel is a result and never raises one.

TritonExpError
├── ConfigError           a choice or a value that cannot be run
│   └── DoesNotFitError   a size whose tensors do not fit the GPU's free memory
├── OperationError        a folder under kernels/ that does not keep the contract
├── ExpertError           a human expert's kernel that cannot be had
├── PromptError           a prompt that cannot be rendered from what is known
│   └── PromptLeakError   a rendered prompt that holds a line of an expert or house kernel
├── GenerationError       no completion can be had
│   ├── MissingKeyError   the provider's API key is not set
│   └── RecordingError    a recorded response that is absent or does not belong to the prompt
├── EvaluationError       the judge itself cannot work
│   ├── DisturbedError    times that another program on the GPU or the host has come between
│   ├── LeaseError        the GPU cannot be had alone
│   └── ReferenceFailedError   the baseline, which everything is measured against, did not pass
└── TrackingError         the MLflow store cannot be used

Every message is one or two sentences: what was wrong, the value, what was allowed, and what to do
next.
"""


class TritonExpError(Exception):
    """Root of everything that this project raises on purpose."""


class ConfigError(TritonExpError):
    """A choice or a value that cannot be run."""


class DoesNotFitError(ConfigError):
    """A size whose tensors do not fit the GPU's free memory."""


class OperationError(TritonExpError):
    """A folder under kernels/ that does not keep the contract."""


class ExpertError(TritonExpError):
    """A human expert's kernel that cannot be had."""


class PromptError(TritonExpError):
    """A prompt that cannot be rendered from what is known."""


class PromptLeakError(PromptError):
    """A rendered prompt that holds a line of an expert or house kernel."""


class GenerationError(TritonExpError):
    """No completion can be had."""


class MissingKeyError(GenerationError):
    """The provider's API key is not set."""


class RecordingError(GenerationError):
    """A recorded response that is absent or does not belong to the prompt."""


class EvaluationError(TritonExpError):
    """The judge itself cannot work."""


class DisturbedError(EvaluationError):
    """Times that something else on the GPU or the host has come between, so that none counts."""


class LeaseError(EvaluationError):
    """The GPU cannot be had alone: another process holds it, or nobody can lease it."""


class ReferenceFailedError(EvaluationError):
    """The baseline, which everything is measured against, did not pass."""


class TrackingError(TritonExpError):
    """The MLflow store cannot be used."""
