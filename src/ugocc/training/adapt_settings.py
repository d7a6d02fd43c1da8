"""Settings of adaptation: every ingredient of the method has its switch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ugocc.adaptation.pseudo_labels import PseudoLabelSettings
from ugocc.adaptation.rendering import RenderSettings
from ugocc.adaptation.reversal import AdversarySettings
from ugocc.adaptation.strong_view import StrongViewSettings
from ugocc.adaptation.teacher import TeacherSettings
from ugocc.adaptation.transferred import RigTransferSettings
from ugocc.adaptation.views import EvidenceSettings
from ugocc.adaptation.voting import VotingSettings
from ugocc.data.transforms import AugmentSettings
from ugocc.losses.depth import DepthLossSettings
from ugocc.losses.occupancy import OccupancyLossSettings
from ugocc.losses.photometric import PhotometricSettings
from ugocc.losses.references import ReferenceSettings
from ugocc.losses.semantics import SemanticLossSettings
from ugocc.models.settings import ModelSettings
from ugocc.training.settings import FleetSettings, OptimSettings, RunSettings


@dataclass(frozen=True)
class TargetWeights:
    """Weights of what is learned without labels; 0 leaves an ingredient out."""

    pseudo_labels: float = 0.2
    """Voted volumes; where nothing is voted, voxels the teacher is sure of."""
    rendering: float = 0.05
    """The student's volume, rendered, against 2D semantics and depth of the teacher."""
    semantics: float = 1.0
    """2D semantics the teacher is sure of, times the weight of the 2D semantic loss."""
    photometric_target: float = 1.0
    """Pictures of other times and cameras, on the target, in pretraining as well."""
    photometric_source: float = 1.0
    """The same on the source: other times of frames as recorded, other cameras of re-rendered ones too."""
    rise: float = 0.2
    """Share of the steps over which the weights of all that comes from the teacher rise from 0."""


@dataclass(frozen=True)
class ChoiceSettings:
    """Which checkpoint is the result; target labels have no say."""

    candidates: int = 5
    """Teachers kept for the choice, evenly spaced over the steps, the last one included; 1 takes the last."""
    margin: float = 0.01
    """How much better than the last candidate an earlier one must score to be chosen."""
    frames: int = 16
    """Frames of the target that the label-free scores are taken of."""
    statistics_frames: int = 100
    """Clean frames of each fleet that its batch-norm statistics are estimated from."""


@dataclass(frozen=True)
class EarlierStages:
    """Steps of the stages before adaptation, where it has no start; 0 leaves a stage out."""

    source_steps: int = 100_000
    """Source-only training with colour jitter and re-rendered frames."""
    pretrain_steps: int = 30_000
    """Self-supervised depth on both fleets and 2D semantics on the source."""


@dataclass(frozen=True)
class AdaptRecipe:
    """Adaptation from a labelled fleet to an unlabelled one."""

    variant: str = "full"
    """Name of the variant in results."""
    start: Path | None = None
    """Model folder of an earlier stage; null runs the earlier stages first."""
    earlier: EarlierStages = field(default_factory=EarlierStages)
    """How long the earlier stages are."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """The network, where there is no ``start``; its name and size choose the defaults of the rest."""
    source: FleetSettings = field(default_factory=FleetSettings)
    """The labelled fleet."""
    target: FleetSettings = field(default_factory=lambda: FleetSettings(Path("data/embedded/five")))
    """The fleet without labels; labels and lidar it may have are never opened."""
    teacher_maps: Path | None = None
    """Folder of 2D semantic maps of the target made by an outside network (``ugocc data segment``); by default the
    teacher's own 2D semantics are used."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Changes of the source's samples."""
    recorded: AugmentSettings | None = None
    """Changes of the source's samples as recorded, where there are re-rendered ones too; null: those of ``augment``.
    Re-rendered ones teach what other rigs and roads look like, so the recorded one can stay what it is at home."""
    rig_transfer: RigTransferSettings = field(default_factory=RigTransferSettings)
    """Source frames re-rendered for the target's rig."""
    strong_view: StrongViewSettings = field(default_factory=StrongViewSettings)
    """What the student's view of the target has to endure."""
    occupancy_loss: OccupancyLossSettings = field(default_factory=OccupancyLossSettings)
    """Occupancy losses on the source; all weights 0 in pretraining that has no start."""
    depth_loss: DepthLossSettings = field(default_factory=DepthLossSettings)
    """Lidar depth on the source."""
    semantic_loss: SemanticLossSettings = field(default_factory=SemanticLossSettings)
    """2D semantics: labels on the source, the teacher on the target."""
    photometric: PhotometricSettings = field(default_factory=PhotometricSettings)
    """Self-supervised depth."""
    references: ReferenceSettings = field(default_factory=ReferenceSettings)
    """Pictures that depth is checked with."""
    weights: TargetWeights = field(default_factory=TargetWeights)
    """Weights of what is learned without labels."""
    adversary: AdversarySettings = field(default_factory=AdversarySettings)
    """The fleet classifier behind reversed gradients."""
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    """How the teacher follows the student."""
    pseudo_labels: PseudoLabelSettings = field(default_factory=PseudoLabelSettings)
    """Selection of pseudo-labels."""
    voting: VotingSettings = field(default_factory=VotingSettings)
    """Pseudo-labels from what the frames of a drive say together."""
    agreement: bool = True
    """Drop pseudo-labels that a camera's sure semantics or depth contradicts; voted volumes are not checked."""
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    """When 2D semantics and depth of the teacher are sure."""
    rendering: RenderSettings = field(default_factory=RenderSettings)
    """Rendering of the student's volume."""
    choice: ChoiceSettings = field(default_factory=ChoiceSettings)
    """Choosing a checkpoint without labels."""
    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser and schedule; the batch size counts samples of each fleet."""
    run: RunSettings = field(default_factory=lambda: RunSettings(Path("runs/adapt")))
    """Where and how it runs."""

    @property
    def learns_from_target(self) -> bool:
        """Whether any loss is taken of target samples."""
        w = self.weights
        return any((w.pseudo_labels, w.rendering, w.semantics, w.photometric_target, self.adversary.weight))

    @property
    def looks_around(self) -> tuple[int, ...]:
        """Frames before and after that photometric losses compare with; none if there are no such losses."""
        around = self.references.temporal or self.references.spatio_temporal
        wanted = self.weights.photometric_target or self.weights.photometric_source
        return (-1, 1) if around and wanted else ()
