"""What can go wrong in the reward model, as a tree.

    RewardModelError
    ├── BackboneError        a backbone cannot be found, read or used
    ├── AnswerError          one answer cannot be encoded (too long, mangled by the template, …)
    ├── TrainingDataError    the pairs or the configuration do not allow a fit
    ├── CheckpointError      a checkpoint directory is missing, damaged or of another backbone
    ├── ExportError          an export cannot be written, or does not give the same rewards
    ├── FeatureStoreError    the feature store cannot be opened, or an answer in it is missing
    └── Stopped              the caller asked for a stop; what was finished is kept

Every message says what was wrong, the value seen and what to do.
"""

from __future__ import annotations


class RewardModelError(Exception):
    """Base of everything that rm_core raises on purpose."""


class BackboneError(RewardModelError):
    """A backbone cannot be found, read or used."""


class AnswerError(RewardModelError):
    """One answer cannot be encoded; other answers are not affected."""


class TrainingDataError(RewardModelError):
    """The pairs or the configuration do not allow a fit."""


class CheckpointError(RewardModelError):
    """A checkpoint directory is missing, damaged or belongs to another backbone."""


class ExportError(RewardModelError):
    """An export cannot be written, or does not give the studio's rewards."""


class FeatureStoreError(RewardModelError):
    """The feature store cannot be opened, or a needed answer is not in it."""


class Stopped(RewardModelError):
    """The caller asked for a stop; what was finished before is kept."""
